"""Routers and autoscalers by name."""

from simulator.cluster.autoscaler import Autoscaler
from simulator.cluster.router import Router
from simulator.core.registry import Registry

ROUTERS: Registry[Router] = Registry(
    "router",
    Router,  # type: ignore[type-abstract]
    package="simulator.cluster.routers",
    group="tokenyard.routers",
    defines=("route",),
)
router = ROUTERS.register

AUTOSCALERS: Registry[Autoscaler] = Registry(
    "autoscaler",
    Autoscaler,  # type: ignore[type-abstract]
    package="simulator.cluster.autoscalers",
    group="tokenyard.autoscalers",
)
autoscaler = AUTOSCALERS.register
