"""Transformers' shapes."""
