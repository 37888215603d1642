"""Autoscalers: one file each. An autoscaler says how many instances there should be."""
