"""Requests: traces in, generators, transforms."""
