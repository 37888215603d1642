"""What all reproductions share: set-ups from YAML, worlds, workloads, parallel runs, verdicts."""
