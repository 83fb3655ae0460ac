"""How many workers a cluster has room for. Numbers only: whoever knows the cluster fills them in."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from workers.contract import Resources

KINDS = ("CPU", "GPU")


@dataclass(frozen=True)
class Capacity:
    """What the nodes of a cluster have in all, by name, and what other programs use of it, over all nodes."""

    nodes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    others: Mapping[str, float] = field(default_factory=dict)

    def misfit(self, resources: Resources) -> str | None:
        """None where some node could hold a worker of this shape if it were empty, else why none could."""
        need = needs(resources)
        if any(_times(node, need) >= 1 for node in self.nodes.values()):
            return None
        if not self.nodes:
            return "The cluster has no node that is alive."
        largest = max(self.nodes.values(), key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)))
        has = {kind: largest.get(kind, 0.0) for kind in KINDS}
        return (
            f"A trial asks for {_words(need)}, and no node of the cluster has so much: the largest has {_words(has)}. "
            "Ask for less per trial, or add a node."
        )

    def room(self, resources: Resources, held: Sequence[tuple[str, Resources]]) -> float:
        """How many more workers of this shape fit beside those `held`, each with its node ("" while unknown)."""
        need = needs(resources)
        free = {name: dict(node) for name, node in self.nodes.items()}
        for where, used in ((where, needs(shape)) for where, shape in held):
            node = free.get(where) or next((node for node in free.values() if _times(node, used) >= 1), {})
            for kind, amount in used.items():
                node[kind] = node.get(kind, 0.0) - amount
        total = {kind: sum(node.get(kind, 0.0) for node in free.values()) - self.others.get(kind, 0.0) for kind in need}
        return max(0, min(_times(total, need), sum(_times(node, need) for node in free.values())))


def needs(resources: Resources) -> dict[str, float]:
    """A shape in the cluster's words; nothing where it is zero."""
    need = {"CPU": resources.cpus, "GPU": resources.gpus}
    return {kind: amount for kind, amount in need.items() if amount > 0}


def _times(node: Mapping[str, float], need: Mapping[str, float]) -> float:
    """How many times `need` fits into what a node has; infinite where nothing is needed."""
    fits = (math.floor(node.get(kind, 0.0) / amount + 1e-6) for kind, amount in need.items())
    return max(0, min(fits, default=math.inf))


def _words(amounts: Mapping[str, float]) -> str:
    return " and ".join(f"{amount:g} {kind}s" for kind, amount in amounts.items())
