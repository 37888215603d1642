"""Policies by name: a decorator registers them, a dotted path or an entry point adds a user's own."""

from simulator.core.registry import Registry
from simulator.engine.scheduler import Scheduler

SCHEDULERS: Registry[Scheduler] = Registry(
    "scheduler",
    Scheduler,  # type: ignore[type-abstract]
    package="simulator.scheduling",
    group="tokenyard.schedulers",
    defines=("add", "plan", "finished"),
)
scheduler = SCHEDULERS.register
