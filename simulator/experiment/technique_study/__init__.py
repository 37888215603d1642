"""What techniques are worth: their experiments run, their iterations timed, and known figures beside ours."""
