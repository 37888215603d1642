"""Experiments: the YAML, the runs it asks for, their metrics and results."""
