"""Hardware by name."""

from simulator.hardware.profile import known_profiles, load_profile

__all__ = ["known_profiles", "load_profile"]
