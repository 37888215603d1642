"""What all tests share: hypothesis settings, and the helpers of ``tests/support`` on the import path."""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# With --import-mode=importlib nothing puts this folder on the path, and strategies are needed when test modules load.
sys.path.insert(0, str(Path(__file__).parent))

# Tests start many processes. Without bytecode each would compile the whole package anew, and so would every worker.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# Simulations draw large examples; how fast they are drawn says nothing about the simulator.
_SLOW_DRAWS = [HealthCheck.too_slow, HealthCheck.data_too_large]
settings.register_profile("ci", max_examples=50, deadline=None, derandomize=True, suppress_health_check=_SLOW_DRAWS)
settings.register_profile("thorough", max_examples=2000, deadline=None, suppress_health_check=_SLOW_DRAWS)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
