"""When requests arrive: one class a process, each a section of the YAML and the generator of its times."""

from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from simulator.core.quantity import Duration, DurationOrZero, Rate
from simulator.workload.generators.rates import Float, RateProfile, renewals, spread, steady
from simulator.workload.section import Count, RateOrZero, Section

Variation = Annotated[float, Field(ge=0, le=100)]


class Process(Section):
    """Arrival times from a rate profile and the variation of the gaps (0 is clockwork, 1 Poisson, above 1 bursty)."""

    def profile(self) -> RateProfile:
        """Return the rate over time."""
        raise NotImplementedError

    def variation(self) -> float:
        """Return the coefficient of variation of the gaps, measured at constant rate."""
        return 1.0

    def expected(self, until: float) -> float:
        """Return how many requests to expect before a time in seconds."""
        return self.profile().expected(until)

    def times(self, rng: np.random.Generator, requests: int | None, until: float | None) -> Float:
        """Return rising times in seconds: the first ``requests``, those before ``until``, or what satisfies both."""
        profile = self.profile()
        expected = None if until is None else profile.expected(until)
        return profile.when(renewals(rng, self.variation(), requests, expected))


class Constant(Process):
    """A request every 1/rate, the first at 0."""

    process: Literal["constant"]
    rate: Rate

    def profile(self) -> RateProfile:
        """Return one rate."""
        return steady(self.rate)

    def times(self, rng: np.random.Generator, requests: int | None, until: float | None) -> Float:
        """Return equally spaced times."""
        # Dividing, not adding up, puts request n at exactly n / rate; ceil excludes the one at the very end.
        fitting = requests if until is None else int(np.ceil(until * self.rate))
        assert fitting is not None
        return np.arange(fitting if requests is None else min(fitting, requests)) / self.rate


class Poisson(Process):
    """Independent arrivals at one rate."""

    process: Literal["poisson"]
    rate: Rate

    def profile(self) -> RateProfile:
        """Return one rate."""
        return steady(self.rate)


class Gamma(Process):
    """Independent gamma-distributed gaps: ``cv`` below 1 is smoother than Poisson, above 1 burstier."""

    process: Literal["gamma"]
    rate: Rate
    cv: Annotated[float, Field(gt=0, le=100)]

    def profile(self) -> RateProfile:
        """Return one rate."""
        return steady(self.rate)

    def variation(self) -> float:
        """Return ``cv``."""
        return self.cv


class OnOff(Process):
    """Bursts: Poisson at ``rate`` for ``on``, then at ``idle_rate`` for ``off``, and again."""

    process: Literal["on_off"]
    rate: Rate
    on: Duration
    off: Duration
    idle_rate: RateOrZero = 0.0

    def profile(self) -> RateProfile:
        """Return a burst and a pause."""
        durations = np.array([self.on, self.off])
        return RateProfile(durations, durations * [self.rate, self.idle_rate])


class Step(Section):
    """A stretch of time with one rate."""

    duration: Duration
    rate: RateOrZero


class Piecewise(Process):
    """A rate for each step, repeated after the last."""

    process: Literal["piecewise"]
    steps: Annotated[tuple[Step, ...], Field(min_length=1, strict=False)]
    cv: Variation = 1.0

    @model_validator(mode="after")
    def _some_rate(self) -> Self:
        if all(step.rate == 0 for step in self.steps):
            raise ValueError("all steps have rate 0: no request would ever arrive")
        return self

    def profile(self) -> RateProfile:
        """Return the steps."""
        durations = np.array([step.duration for step in self.steps])
        return RateProfile(durations, durations * [step.rate for step in self.steps])

    def variation(self) -> float:
        """Return ``cv``."""
        return self.cv


class Counts(Process):
    """Exactly as many requests in each interval of ``every`` as ``counts`` says, repeated after ``span``.

    ``cv`` is the variation of the gaps within an interval, as for ``gamma``. ``span`` is the recorded time where the
    last interval is not a whole one.
    """

    process: Literal["counts"]
    counts: Annotated[tuple[Annotated[int, Field(ge=0)], ...], Field(min_length=1, strict=False)]
    every: Duration = 60.0
    span: Duration | None = None
    cv: Variation = 1.0

    @model_validator(mode="after")
    def _sound(self) -> Self:
        if not any(self.counts):
            raise ValueError("all counts are 0: no request would ever arrive")
        number = len(self.counts)
        if self.span is not None and not self.every * (number - 1) < self.span <= self.every * number:
            raise ValueError(f"span must end within the last of the {number} intervals that have counts")
        return self

    def profile(self) -> RateProfile:
        """Return a step an interval."""
        return RateProfile(self._widths(), np.array(self.counts, np.float64))

    def times(self, rng: np.random.Generator, requests: int | None, until: float | None) -> Float:
        """Return times with the given number in each interval; a longer run begins with the shorter one."""
        widths = self._widths()
        enough = [] if requests is None else [requests / sum(self.counts)]
        enough += [] if until is None else [until / widths.sum()]
        rounds = 1 + int(min(enough))
        times = spread(rng, self.cv, np.tile(self.counts, rounds), np.tile(widths, rounds))
        return times[: None if until is None else np.searchsorted(times, until)][:requests]

    def _widths(self) -> Float:
        widths = np.full(len(self.counts), self.every)
        if self.span is not None:
            widths[-1] = self.span - self.every * (len(widths) - 1)
        return widths


class ClosedLoop(Section):
    """A fixed number of clients, each sending its next request ``think`` after its last one finished."""

    process: Literal["closed_loop"]
    concurrency: Count
    think: DurationOrZero = 0.0


Arrivals = Annotated[
    Constant | Poisson | Gamma | OnOff | Piecewise | Counts | ClosedLoop, Field(discriminator="process")
]
