"""Routers: one file each. A router picks the instance a request goes to when it arrives."""
