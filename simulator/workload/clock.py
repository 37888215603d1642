"""How long a workload may go on."""

from typing import Final

from simulator.core.units import PS_PER_S

LONGEST_DAYS: Final = 100
LONGEST_PS: Final = LONGEST_DAYS * 86_400 * PS_PER_S
"""The last arrival: the clock spans 106 days, and what arrives last has yet to be served."""
