"""Routers by name."""

from simulator.cluster.router import Router
from simulator.core.registry import Registry

ROUTERS: Registry[Router] = Registry(
    "router",
    Router,  # type: ignore[type-abstract]
    package="simulator.cluster.routers",
    group="tokenyard.routers",
)
router = ROUTERS.register
