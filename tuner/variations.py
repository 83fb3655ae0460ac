"""Variations of a structure that resemble the good trials: how `tpe` fills a cohort without being asked for each of it.

One draw per variation from the Parzen estimator of the good trials, as in Bergstra et al. 2011 ("Algorithms for
Hyper-Parameter Optimization", section 4), given the structure: each good trial counts the more, the more its
structure is like the given one, and its values are drawn with a spread that shrinks with the number of good
trials (Scott's rule). One part in the number of good trials plus one comes from everywhere.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterator
from typing import Any

from search_spaces import Choice, Space
from tuner.points import Observation, variation

MOST_GOOD = 25  # trials that count as good; a tenth of those that are complete, if that is fewer
_SPREAD = 0.2  # of the values, for one good trial and no parameter; also how far structures may differ
_OTHER_OPTION = 0.2  # how much a trial with another option of a choice is like one with the same


class GoodVariations:
    """The complete trials of a study, and variations that resemble the best of them."""

    def __init__(self, space: Space, direction: str) -> None:
        self._space = space
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._known: dict[int, tuple[float, dict[str, Any]]] = {}

    def observe(self, observation: Observation) -> None:
        """Add a trial, or replace what was known about it."""
        self._known.pop(observation.number, None)
        if observation.state == "complete" and observation.value is not None and math.isfinite(observation.value):
            self._known[observation.number] = self._sign * observation.value, observation.params

    def draws(self, first: dict[str, Any], varied: Collection[str], draw: random.Random) -> Iterator[dict[str, Any]]:
        """Points without end that agree with `first` but in the parameters `varied`."""
        domains, names = self._space.parameters, sorted(varied)
        best = sorted((value, number) for number, (value, _) in self._known.items())
        count = min(math.ceil(len(best) / 10), MOST_GOOD)
        good = [self._known[number][1] for _, number in best[:count]]
        weights = [self._likeness(first, params, varied) for params in good]
        spread = _SPREAD * max(len(good), 1) ** (-1 / (len(names) + 4))
        everywhere = (sum(weights) or 1.0) / max(len(good), 1)
        while True:
            (params,) = draw.choices([None, *good], [everywhere, *weights])
            places = {name: draw.random() for name in names}
            for name in names:
                if params is not None and name in params:
                    place = domains[name].to_unit(params[name])
                    if not isinstance(domains[name], Choice):
                        places[name] = _reflected(place + spread * draw.gauss(0, 1))
                    elif draw.random() > _OTHER_OPTION:
                        places[name] = place
            yield variation(self._space, first, varied, places)

    def _likeness(self, first: dict[str, Any], params: dict[str, Any], varied: Collection[str]) -> float:
        """From 0 to 1: how much the structures of two points are alike."""
        result = 1.0
        for name, domain in self._space.free.items():
            if name in varied or (name not in first and name not in params):
                continue
            if name not in first or name not in params or isinstance(domain, Choice):
                result *= 1.0 if first.get(name) == params.get(name) else _OTHER_OPTION
            else:
                apart = domain.to_unit(first[name]) - domain.to_unit(params[name])
                result *= math.exp(-0.5 * (apart / _SPREAD) ** 2)
        return result


def _reflected(place: float) -> float:
    """The place mirrored at the ends of the unit interval until it is inside."""
    return 1.0 - abs(1.0 - abs(place) % 2.0)
