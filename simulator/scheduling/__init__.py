"""Engine policies, one file each: they decide, and never advance time."""
