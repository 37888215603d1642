"""Requests made up: arrivals, lengths, prefixes, clients, each from its own random stream."""
