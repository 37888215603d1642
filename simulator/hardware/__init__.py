"""What GPUs were measured to do."""
