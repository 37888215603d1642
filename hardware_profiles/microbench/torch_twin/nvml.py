"""What the driver's management library says of a GPU: clocks, power, temperature. Only ever asked, never set."""

import ctypes
from typing import Any

_SM_CLOCK, _MEMORY_CLOCK, _TEMPERATURE = 1, 2, 0
# Slowed down for heat or by the board; held at the power limit (NVIDIA's NVML reference).
_SLOWED, _CAPPED = 0xE8, 0x4


class Nvml:
    """One GPU by PCI bus id; every figure is 0 where there is no driver or it does not tell."""

    def __init__(self, bus_id: str | None) -> None:
        self._device: Any = ctypes.c_void_p()
        self._library: Any = None
        try:
            library = ctypes.CDLL("libnvidia-ml.so.1")
        except OSError:
            return
        found = bus_id is not None and library.nvmlInit_v2() == 0
        if found and library.nvmlDeviceGetHandleByPciBusId_v2(bus_id.encode(), ctypes.byref(self._device)) == 0:
            self._library = library

    @property
    def present(self) -> bool:
        """Tell whether the driver answers for this GPU."""
        return self._library is not None

    def driver(self) -> str:
        """Return the driver's version, ``unknown`` without one."""
        text = ctypes.create_string_buffer(96)
        if self._library is None or self._library.nvmlSystemGetDriverVersion(text, 96) != 0:
            return "unknown"
        return text.value.decode()

    def sm_mhz(self) -> int:
        """Return the clock of the multiprocessors, MHz."""
        return self._number("nvmlDeviceGetClockInfo", _SM_CLOCK)

    def memory_mhz(self) -> int:
        """Return the clock of the memory, MHz."""
        return self._number("nvmlDeviceGetClockInfo", _MEMORY_CLOCK)

    def most_sm_mhz(self) -> int:
        """Return the highest clock the multiprocessors may have, MHz."""
        return self._number("nvmlDeviceGetMaxClockInfo", _SM_CLOCK)

    def watts(self) -> float:
        """Return the power drawn, W."""
        return self._number("nvmlDeviceGetPowerUsage") / 1e3

    def most_watts(self) -> float:
        """Return the power limit in force, W."""
        return self._number("nvmlDeviceGetEnforcedPowerLimit") / 1e3

    def celsius(self) -> int:
        """Return the GPU's temperature."""
        return self._number("nvmlDeviceGetTemperature", _TEMPERATURE)

    def throttled(self) -> bool:
        """Tell whether clocks are held down for heat or by the board."""
        return bool(self._reasons() & _SLOWED)

    def power_capped(self) -> bool:
        """Tell whether clocks are held down by the power limit, as large matrix products have it."""
        return bool(self._reasons() & _CAPPED)

    def _number(self, function: str, which: int | None = None) -> int:
        value = ctypes.c_uint()
        if self._library is None:
            return 0
        words = [self._device] if which is None else [self._device, which]
        status = getattr(self._library, function)(*words, ctypes.byref(value))
        return value.value if status == 0 else 0

    def _reasons(self) -> int:
        value = ctypes.c_ulonglong()
        if self._library is None:
            return 0
        status = self._library.nvmlDeviceGetCurrentClocksThrottleReasons(self._device, ctypes.byref(value))
        return value.value if status == 0 else 0
