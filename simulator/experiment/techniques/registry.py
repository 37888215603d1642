"""Techniques by name: a decorator registers them, ``module:Class`` or an entry point adds a user's own."""

from simulator.core.registry import Registry
from simulator.experiment.techniques.base import Technique

TECHNIQUES: Registry[Technique] = Registry(
    "technique", Technique, package="simulator.experiment.techniques", group="tokenyard.techniques"
)
technique = TECHNIQUES.register
