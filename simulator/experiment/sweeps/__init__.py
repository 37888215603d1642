"""Sweeps: many runs of one experiment, run in parallel, resumed after a crash, and compared by their seeds."""
