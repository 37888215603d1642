"""Techniques of the survey as what-if knobs: each one file that changes requests, model, engine or cost."""
