"""The ground: requests, units, random streams, errors. Knows nothing above it."""

from simulator.core.errors import InputError, unknown
from simulator.core.request import Request, Segment, Status
from simulator.core.streams import Streams
from simulator.core.units import PS_PER_MS, PS_PER_S, to_ps, to_s

__all__ = ["PS_PER_MS", "PS_PER_S", "InputError", "Request", "Segment", "Status", "Streams", "to_ps", "to_s", "unknown"]
