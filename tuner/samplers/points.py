"""Points of a search space, as samplers propose and observe them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, Protocol

from search_spaces import Space
from search_spaces.conditions import is_active
from tuner.errors import TunerError

MOST_DRAWS = 10  # for each variation that is asked for, before fewer of them will do

_in_order = json.JSONEncoder(sort_keys=True).encode  # made once: `json.dumps` would make one for each point

Taken = Callable[[dict[str, Any]], bool]
"""Whether another trial has exactly this point."""


@dataclass(frozen=True)
class Observation:
    """A trial as a sampler sees it."""

    number: int
    state: Literal["running", "complete", "pruned", "failed"]
    params: dict[str, Any]  # the active parameters and their values
    value: float | None = None  # the objective of a complete trial
    curve: Mapping[int, float] = field(default_factory=dict)  # the objective by epoch
    notes: dict[str, Any] = field(default_factory=dict)  # as they came with the proposal


@dataclass(frozen=True)
class Proposal:
    """A point to try. `notes` is JSON that belongs on the trial's row, and comes back in its observations."""

    params: dict[str, Any]
    notes: dict[str, Any] = field(default_factory=dict)


class Exhausted(TunerError):
    """The space has no further point to propose; the message says so to a person."""


class Method(Protocol):
    """One way to choose points. Its proposals depend on `seed`, `number` and what was observed, in any order."""

    def observe(self, observation: Observation) -> None: ...

    def forget(self, number: int) -> None:
        """As if the trial had never been observed."""

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal: ...

    def propose_together(
        self, number: int, size: int, varied: Collection[str], seed: int, taken: Taken
    ) -> list[Proposal]:
        """At most `size` different points that agree but in the parameters `varied`, of which none is taken."""
        ...


def stable_seed(*parts: str | int) -> int:
    """A hash that is the same in every process and on every machine, 0 to 2**32 - 1."""
    return int.from_bytes(hashlib.sha256(json.dumps(parts).encode()).digest()[:4], "big")


def key_of(params: Mapping[str, Any]) -> str:
    """Equal for equal points only."""
    return _in_order(params)


def define_by_run(space: Space, value_of: Callable[[str], Any]) -> dict[str, Any]:
    """A point whose values come from `value_of`: parents first, and only parameters that are active are asked for."""
    params: dict[str, Any] = {}
    for name in space.order:
        if is_active(name, space.conditions, params):
            params[name] = value_of(name)
    return params


def random_point(space: Space, seed: int) -> dict[str, Any]:
    """A point drawn uniformly from the space's unit box."""
    draw = random.Random(seed)
    return space.from_unit({name: draw.random() for name in space.order})


def variation(
    space: Space, first: Mapping[str, Any], varied: Collection[str], places: Mapping[str, float]
) -> dict[str, Any]:
    """The point `first`, but with the values of the parameters `varied` that lie at these places in [0, 1].

    No parameter outside `varied` may depend on one of them.
    """
    domains = space.parameters
    return define_by_run(space, lambda name: domains[name].from_unit(places[name]) if name in varied else first[name])


def distinct(proposals: Iterable[Proposal], size: int, taken: Taken) -> list[Proposal]:
    """The first `size` different proposals that nobody has, of no more than `MOST_DRAWS` times as many."""
    found: dict[str, Proposal] = {}
    for proposal in islice(proposals, MOST_DRAWS * size):
        if not taken(proposal.params):
            found.setdefault(key_of(proposal.params), proposal)
        if len(found) == size:
            break
    return list(found.values())
