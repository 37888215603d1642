"""Fitting what an engine's host adds to the kernels' time, to measured serving runs."""
