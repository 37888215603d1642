"""The sections of a GPU's profile: quantities carry units in the YAML, and are floats in SI base units here."""

from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from simulator.core.quantity import Bandwidth, Duration, DurationOrZero, Power, Size
from simulator.core.quantity import Compute as ComputeRate


class Section(BaseModel):
    """A mapping of the profile; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Memory(Section):
    """Device memory: capacity as the driver reports it, bandwidth and L2 cache as the datasheet states them."""

    capacity: Size
    bandwidth: Bandwidth
    l2: Size | None = None


class Roofline(Section):
    """Time of one kernel: ``launch + (c**blend + b**blend) ** (1 / blend)``.

    c is its FLOPs over ``compute``, b its bytes over ``bandwidth``: achieved rates, fitted to measured kernels. A
    large ``blend`` is the textbook roofline max(c, b); a small one rounds its ridge off, as kernels do. ``error`` is
    the median relative error of the fit over ``samples`` measured kernels; both None where rates are not fitted.
    """

    launch: DurationOrZero
    compute: ComputeRate
    bandwidth: Bandwidth
    blend: Annotated[float, Field(ge=1)]
    error: Annotated[float, Field(ge=0)] | None = None
    samples: Annotated[int, Field(ge=1)] | None = None

    def table(self, flops: NDArray[np.float64], size: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the times of many kernels: ``seconds`` for arrays of FLOPs and bytes (above 0)."""
        c, b = flops / self.compute, size / self.bandwidth
        longer = np.maximum(c, b)
        rounded: NDArray[np.float64] = ((c / longer) ** self.blend + (b / longer) ** self.blend) ** (1 / self.blend)
        return self.launch + longer * rounded

    def seconds(self, flops: float, size: float) -> float:
        """Return the time of a kernel of so many FLOPs that moves so many bytes."""
        c, b = flops / self.compute, size / self.bandwidth
        longer = max(c, b)
        if longer == 0:
            return self.launch
        # Scaled by the longer one, so that powers of tiny times stay in range.
        rounded: float = ((c / longer) ** self.blend + (b / longer) ** self.blend) ** (1 / self.blend)
        return self.launch + longer * rounded


class Elementwise(Section):
    """Memory-bound small operators: ``launch + bytes / bandwidth`` each."""

    launch: Duration
    bandwidth: Bandwidth


class AllReduce(Section):
    """All-reduce over n GPUs of one node: ``latency + 2 (n - 1) / n * bytes / bandwidth``.

    ``direct`` is false where the GPUs cannot read each other's memory: then this holds rather than a table of
    all-reduces measured on a node where they can.
    """

    latency: Duration
    bandwidth: Bandwidth
    most_gpus: Annotated[int, Field(ge=2)]
    direct: bool = True


class Link(Section):
    """One kind of link of a GPU: bandwidth in one direction, latency, whether GPUs read each other's memory over it."""

    bandwidth: Bandwidth
    latency: Duration | None = None
    peer_access: bool = True


class Links(Section):
    """A GPU's links: to others in its node, to the host and over PCIe, to other nodes."""

    nvlink: Link | None = None
    pcie: Link | None = None
    infiniband: Link | None = None


class PowerCurve(Section):
    """Power of a GPU that iterates: ``base + slope * sqrt(u)``.

    u is the share of the bf16 ``peak`` that the matrix products achieve. ``error`` is the mean relative error on models
    that the fit had not seen, over ``samples`` measurements.
    """

    base: Power
    slope: Power
    error: Annotated[float, Field(ge=0)]
    samples: Annotated[int, Field(ge=1)]


class Draw(Section):
    """Power of one GPU: the limit it is sold with, what it draws when idle and when it iterates, where measured."""

    tdp: Power
    idle: Power | None = None
    curve: PowerCurve | None = None

    def iterating(self, utilization: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return watts at shares of the peak FLOP/s: the curve up to the limit, the limit where there is no curve."""
        if self.curve is None:
            return np.full(np.shape(utilization), self.tdp)
        return np.minimum(self.curve.base + self.curve.slope * np.sqrt(utilization), self.tdp)

    @property
    def waiting(self) -> float:
        """Watts between iterations: as measured idle, else an upper bound, the curve's base or the limit."""
        if self.idle is not None:
            return self.idle
        return self.tdp if self.curve is None else self.curve.base


class Price(Section):
    """What an hour of one GPU costs, in a currency, asked when from whom."""

    per_hour: Annotated[float, Field(gt=0)]
    currency: str = "USD"
    source: str
    date: str


class SkewShare(Section):
    """How much of a decode batch's attention waits for its longest context instead of the mean one.

    ``x`` is requests times KV heads a GPU over twice the number of multiprocessors, ``mean``, ``median``,
    ``low`` and ``high`` quartile are of the measured share over ``cells`` groups of measurements. Time is linear in the
    share, so that an expected time needs the mean.
    """

    x: Annotated[float, Field(gt=0)]
    mean: float
    median: float
    low: float
    high: float
    cells: Annotated[int, Field(ge=1)]


class TableFile(Section):
    """The file of measured tables beside the profile, and its sha256."""

    file: Annotated[str, Field(pattern=r"^[^/\\]+\.npz$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
