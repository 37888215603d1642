"""Published results repeated: one file a system here, what they share in ``tools``."""
