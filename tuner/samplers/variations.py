"""Structures and variations from Parzen estimators: how `tpe` fills a cohort with one question to Optuna.

The structure is Optuna's proposal, in a study that holds one trial of each structure, the best one: a structure that
was varied eight times would otherwise count as eight good trials, and be proposed for ever. The variations are the
ones that are most likely among the good trials and least among the others, given the structure, as in Bergstra et al.
2011 ("Algorithms for Hyper-Parameter Optimization", section 4): drawn around good trials, the more often the more
their structure is like the given one, and of each few draws the best is taken.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from search_spaces import Space
from tuner.samplers.encoding import Encoding, Flags, Floats, keys, squares
from tuner.samplers.points import Observation

MOST_GOOD = 25  # trials that count as good; a tenth of those that are known, if that is fewer
_DRAWS, _ANYWHERE = 24, 3  # draws for each variation, and how many of them are from the whole range
_BATCH = 16  # variations that are drawn at once
_SPREAD = 0.2  # of a kernel that has one trial; more trials narrow it by Scott's rule
_FLOOR = 1e-3  # of a density: what is far from all that is known is like what is very far


class Variations:
    """What is known about the finished trials of a study, and more points like the good ones."""

    def __init__(self, space: Space, direction: str) -> None:
        self._encoding = Encoding(space)
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._known: dict[int, tuple[tuple[bool, float, int], Observation, Floats]] = {}

    def observe(self, observation: Observation) -> None:
        """Add a trial, or replace what was known about it. Pruned trials count as worse than the complete ones."""
        self._known.pop(observation.number, None)
        pruned, value = observation.state == "pruned", observation.value
        if pruned:
            value = next((v for _, v in sorted(observation.curve.items(), reverse=True) if math.isfinite(v)), None)
        if (pruned or observation.state == "complete") and value is not None and math.isfinite(value):
            rank = pruned, self._sign * value, observation.number
            self._known[observation.number] = rank, observation, self._encoding.places(observation.params)

    def __len__(self) -> int:
        return len(self._known)

    def representatives(self, varied: Collection[str]) -> list[Observation]:
        """The best trial of each structure, numbered from 0 in the order of their numbers."""
        best: dict[bytes, Observation] = {}
        ranked = sorted(self._known.values(), key=lambda known: known[0])
        if ranked:
            places = np.array([places for _, _, places in ranked])
            structures = keys(np.where(self._encoding.columns(varied), 0.5, places))
            for key, (_, observation, _) in zip(structures, ranked, strict=True):
                best.setdefault(key, observation)
        return sorted(best.values(), key=lambda observation: observation.number)

    def draws(
        self, first: dict[str, Any], varied: Collection[str], draw: np.random.Generator
    ) -> Iterator[dict[str, Any]]:
        """Points without end that agree with `first` but in the parameters `varied`."""
        encoding, columns = self._encoding, self._encoding.columns(varied)
        here = encoding.places(first)
        ranked = sorted(self._known.values(), key=lambda known: known[0])
        known = np.array([places for _, _, places in ranked]).reshape(-1, len(here))
        count = min(math.ceil(len(known) / 10), MOST_GOOD)
        good, others = known[:count], known[count:]
        spread = _SPREAD * max(count, 1) ** (-1 / (4 + len(here)))
        tried = set(keys(known))
        while True:
            places = np.where(columns, draw.random((_BATCH * _DRAWS, len(here))), here)
            if count:
                around = good[draw.choice(count, len(places), p=self._likeness(here, good, columns))]
                near = encoding.moved(
                    np.where(columns, around, here), np.broadcast_to(columns, places.shape), spread, draw
                )
                places = np.where(np.arange(len(places))[:, None] % _DRAWS < _ANYWHERE, places, near)
            places = encoding.snapped(places)
            better = self._density(places, good, spread) - self._density(places, others, spread)
            better[[key in tried for key in keys(places)]] = -np.inf
            for group in np.split(np.arange(len(places)), _BATCH):
                yield encoding.point(places[group[better[group].argmax()]])

    def _likeness(self, here: Floats, good: Floats, columns: Flags) -> Floats:
        """How much the structures of the good trials are like that of a point, adding up to 1."""
        features, own = self._encoding.features(good), self._encoding.features(here[None])
        apart = ((features - own)[:, ~columns[self._encoding.groups]] ** 2).sum(axis=1)
        alike = np.exp(-0.25 * apart / _SPREAD**2) + 1e-9
        return np.asarray(alike / alike.sum())

    def _density(self, places: Floats, known: Floats, spread: float) -> Floats:
        """The logarithm of the sum of the kernels of the known points, at each row."""
        apart = squares(self._encoding.features(places), self._encoding.features(known))
        return np.asarray(np.log(np.exp(-0.5 * apart / spread**2).sum(axis=1) + _FLOOR))
