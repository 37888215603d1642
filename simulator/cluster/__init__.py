"""Clusters: instances behind a router, and where their requests come from."""
