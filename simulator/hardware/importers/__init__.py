"""Readers of measurements: a file for each format, found by the name it is registered under."""
