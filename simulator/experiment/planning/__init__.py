"""Capacity planning: the smallest or cheapest cluster that serves a load within its objectives."""
