"""Nodes that leave and come over time, as published traces have them."""

from typing import Annotated

from pydantic import Field

from simulator.cluster.spot import Change
from simulator.core import to_ps
from simulator.core.quantity import Duration
from simulator.workload.section import Count, Section

_Whole = Annotated[int, Field(ge=0)]


class NodesChange(Section):
    """Nodes that are gone at a time (numbered from 0 in the order in which they came), and how many come then."""

    at: Duration
    leave: list[_Whole] = []
    come: _Whole = 0


class Availability(Section):
    """Nodes at the beginning, and how they change until the ``end``."""

    nodes: Count
    changes: list[NodesChange]
    end: Duration

    def replay(self, grace: float) -> list[Change]:
        """Return what the cluster hears: nodes that come, and notices ``grace`` seconds before nodes leave."""
        found, fresh = list[Change](), self.nodes
        for change in self.changes:
            found += [Change(to_ps(change.at - grace), node, comes=False) for node in change.leave]
            found += [Change(to_ps(change.at), fresh + new, comes=True) for new in range(change.come)]
            fresh += change.come
        return sorted(found)
