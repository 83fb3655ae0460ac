"""CMA-ES over the numbers of a space, rebuilt for each proposal from the rows of finished trials.

The library that Optuna's `CmaEsSampler` uses too. Optuna keeps the optimizer as a pickle in the attributes of a
trial, and loads it from there; that would be a pickle out of the database. A trial notes its generation instead, and
the optimizer is taken through the finished generations again: 0.3 ms each.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator
from itertools import chain
from typing import Any

from search_spaces import Choice, Space
from tuner.samplers.points import Observation, Proposal, Taken, distinct, variation

_NOTE = "cmaes_generation"


class CovarianceAdaptation:
    """`cmaes`: choices and conditional parameters, which it cannot order, are drawn at random."""

    def __init__(self, space: Space, direction: str) -> None:
        self._space = space
        self._sign = 1.0 if direction == "minimize" else -1.0
        ordered = [name for name, domain in space.free.items() if not isinstance(domain, Choice)]
        self._names = sorted(name for name in ordered if name not in space.conditions)
        self._known: dict[int, Observation] = {}

    def observe(self, observation: Observation) -> None:
        useful = observation.state == "complete" and _NOTE in observation.notes
        if useful and observation.value is not None and math.isfinite(observation.value):
            self._known[observation.number] = observation
        else:
            self._known.pop(observation.number, None)

    def forget(self, number: int) -> None:
        self._known.pop(number, None)

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:  # noqa: ARG002
        draw = random.Random(seed)
        place = {name: draw.random() for name in self._space.order}
        if not self._names:
            return Proposal(self._space.from_unit(place))
        optimizer = self._replayed(seed)
        asked = (min(max(float(u), 0.0), 1.0) for u in optimizer.ask())
        place.update(zip(self._names, asked, strict=True))
        return Proposal(self._space.from_unit(place), {_NOTE: optimizer.generation})

    def propose_together(
        self, number: int, size: int, varied: Collection[str], seed: int, taken: Taken
    ) -> list[Proposal]:
        first = self.propose(number, seed, taken)
        return distinct(chain([first], self._variations(first, varied, seed)), size, taken)

    def _variations(self, first: Proposal, varied: Collection[str], seed: int) -> Iterator[Proposal]:
        """More draws from the same distribution, each with the structure of the first one."""
        draw, optimizer = random.Random(seed), self._replayed(seed) if self._names else None
        while True:
            place = {name: draw.random() for name in sorted(varied)}
            if optimizer is not None:
                asked = (min(max(float(u), 0.0), 1.0) for u in optimizer.ask())
                place.update(zip(self._names, asked, strict=True))
            yield Proposal(variation(self._space, first.params, varied, place), first.notes)

    def _replayed(self, seed: int) -> Any:
        """The optimizer after the generations that are complete. Its own seed matters to the next draw only."""
        import cmaes
        import numpy as np

        size = len(self._names)
        box = np.array([[0.0, 1.0]] * size)
        optimizer = cmaes.CMA(mean=np.full(size, 0.5), sigma=1 / 6, bounds=box, seed=seed)
        generations: dict[int, list[Observation]] = {}
        for number in sorted(self._known):
            generations.setdefault(self._known[number].notes[_NOTE], []).append(self._known[number])
        while len(solutions := generations.get(optimizer.generation, [])) >= optimizer.population_size:
            told = [(self._place(known), self._sign * float(known.value or 0.0)) for known in solutions]
            optimizer.tell(told[: optimizer.population_size])
        return optimizer

    def _place(self, known: Observation) -> Any:
        import numpy as np

        return np.array([self._space.parameters[name].to_unit(known.params[name]) for name in self._names])
