"""The `gp` sampler: a Gaussian process over the trials so far, asked for the most expected improvement.

What was measured to work (docs/benchmarks.md has a table): ten trials of a Sobol sequence first, then a regression
that is fitted at every trial while there are few, at every 8 % of growth later, and at every 25 % once it takes only a
part of the trials. A fit starts from the last one,
which is kept in the notes of the trial that was proposed with it: the rows alone say what comes next, also after a
restart.

A pruned trial counts as the last value it reported. Curves fall, so that is rather too harsh than too kind; raising it
to the median of the complete ones, correcting it by how far those fell later, or leaving it out searched no better. A
failed one counts as the worst objective seen: nobody can use it, and a region where training diverges must not look
unexplored for ever. A running one: see `Posterior`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search_spaces import Space
from tuner.samplers.costs import Cost
from tuner.samplers.encoding import Encoding, Floats, keys
from tuner.samplers.expected_improvement import Search
from tuner.samplers.gaussian_process import Hyperparameters, Posterior, compressed, fit
from tuner.samplers.one_thread import one_thread
from tuner.samplers.points import Observation, Proposal, Taken, distinct
from tuner.samplers.sequences import Sobol

START = 10  # finished trials with an objective before the first regression
FIRST_STRUCTURES = 5  # structures before it, where trials are proposed together; or four times as many trials
_MOST_FITTED, _MOST_KNOWN = 250, 400  # observations in a fit, and in the posterior; the work grows with their cube
_OFTEN = 40  # a fit at each trial up to here
_GROWTH, _LATE_GROWTH = 1.08, 1.25  # then when there are so many times more; late: once a fit takes a part of them
_MOST_RUNNING = 100  # running trials that are taken into account
_RANKED = 20  # candidates that are looked at for one that nobody has
_NOTE = "gp_fit"  # how many trials were fitted, and the logarithms of the hyperparameters


@dataclass(frozen=True)
class _Known:
    """What a regression is made of."""

    places: Floats  # of the finished trials
    values: Floats  # what each of them counts as, smaller is better
    judged: int  # how many of them have an objective of their own
    running: Floats  # places


_ABSENT, _JUDGED, _FAILED, _RUNNING = range(4)


class _Rows:
    """The trials in numbers, a row for each number: a step must not walk over a hundred thousand objects."""

    def __init__(self, columns: int) -> None:
        self._places, self._values = np.zeros((0, columns)), np.zeros(0)  # a judged one's, smaller is better
        self._states = np.zeros(0, dtype=np.int8)
        self._keys: dict[int, bytes] = {}
        self._new: set[int] = set()  # those that have no key yet: many keys at once cost a tenth
        self._tried: Counter[bytes] = Counter()

    def __contains__(self, number: int) -> bool:
        return number in self._new or number in self._keys

    def add(self, number: int, places: Sequence[float]) -> None:
        """Add a trial that is running. No later news changes its place."""
        if number >= len(self._states):
            more = max(number + 1 - len(self._states), len(self._states))
            self._places = np.pad(self._places, ((0, more), (0, 0)))
            self._values, self._states = np.pad(self._values, (0, more)), np.pad(self._states, (0, more))
        self._places[number] = places
        self._new.add(number)
        self.judge(number, _RUNNING, math.inf)

    def judge(self, number: int, state: int, value: float) -> None:
        """Say what a trial that is here has come to."""
        self._states[number], self._values[number] = state, value

    def drop(self, number: int) -> None:
        """As if the trial had never been there."""
        if number in self:
            self._states[number] = _ABSENT
        self._new.discard(number)
        if key := self._keys.pop(number, None):
            self._tried[key] -= 1
            if not self._tried[key]:
                del self._tried[key]

    def tried(self) -> Counter[bytes]:
        """How many trials there are at each place."""
        new = sorted(self._new)
        found = dict(zip(new, keys(self._places[new]), strict=True))
        self._keys |= found
        self._tried.update(found.values())
        self._new.clear()
        return self._tried

    def known(self) -> _Known:
        """What every trial counts as; nothing where none has an objective."""
        judged, failed, running = (np.flatnonzero(self._states == s) for s in (_JUDGED, _FAILED, _RUNNING))
        values, finished = self._values[judged], judged
        if len(values):
            values = np.concatenate([values, np.full(len(failed), values.max())])
            finished = np.concatenate([judged, failed])
        return _Known(self._places[finished], values, len(judged), self._places[running[-_MOST_RUNNING:]])


class GaussianProcess:
    """`gp`: Bayesian optimization by the rows of a study."""

    def __init__(self, space: Space, seed: int, direction: str, cost: Cost | None = None) -> None:
        self._encoding, self._cost = Encoding(space), cost
        self._start = Sobol(space, seed)
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._rows = _Rows(len(self._encoding.names))
        self._fits: dict[int, list[float]] = {}

    def observe(self, observation: Observation) -> None:
        number, params = observation.number, observation.params
        if not params:
            self._rows.drop(number)
        elif number not in self._rows:
            self._rows.add(number, self._encoding.row(params))
        if params:
            self._rows.judge(number, *self._judged(observation))
        self._fits.pop(number, None)
        if len(observation.notes.get(_NOTE, ())) == len(self._encoding.names) + 3:
            self._fits[observation.number] = observation.notes[_NOTE]

    def forget(self, number: int) -> None:
        self._rows.drop(number)
        self._fits.pop(number, None)

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:
        known = self._rows.known()
        if known.judged < START:
            return self._start.propose(number, seed, taken)
        with one_thread():
            search, notes = self._search(known, seed)
            points = [self._encoding.point(places) for places in search.best()[:_RANKED]]
        return Proposal(next((point for point in points if not taken(point)), points[0]), notes)

    def propose_together(
        self, number: int, size: int, varied: Collection[str], seed: int, taken: Taken
    ) -> list[Proposal]:
        known, columns = self._rows.known(), self._encoding.columns(varied)
        if known.judged < START * 4:
            structures = set(keys(np.where(columns, 0.5, known.places)))
            if known.judged < START or len(structures) < FIRST_STRUCTURES:
                return self._start.propose_together(number, size, varied, seed, taken)
        with one_thread():
            search, notes = self._search(known, seed)
            chosen = search.together(size, columns, self._cost)
        proposals = distinct((Proposal(self._encoding.point(places)) for places in chosen), size, taken)
        return [Proposal(proposal.params, {} if k else notes) for k, proposal in enumerate(proposals)]

    def _search(self, known: _Known, seed: int) -> tuple[Search, dict[str, Any]]:
        """The search for the next points, and what to note on a trial that comes of it."""
        encoding, targets = self._encoding, compressed(known.values)
        at, notes = self._fitted(known, targets)
        rows = _spread(known.values, _MOST_KNOWN)
        features = encoding.features(known.places[rows]), encoding.features(known.running)
        posterior = Posterior(features[0], encoding.groups, targets[rows], features[1], at)
        made_of = np.vstack([known.places[rows], known.running])
        return Search(encoding, posterior, made_of, self._rows.tried(), np.random.default_rng(seed)), notes

    def _fitted(self, known: _Known, targets: Floats) -> tuple[Hyperparameters, dict[str, Any]]:
        """The hyperparameters of the last fit, or of a new one where that is due, which is noted."""
        size, last = len(targets), max(self._fits.values(), default=[0.0])
        growth = _GROWTH if size <= _MOST_FITTED else _LATE_GROWTH
        if size <= last[0] or (size > _OFTEN and size < last[0] * growth):
            return Hyperparameters(last[1:]), {}
        rows = _spread(known.values, _MOST_FITTED)
        start = Hyperparameters(last[1:]) if last[1:] else Hyperparameters.usual(len(self._encoding.names))
        features = self._encoding.features(known.places[rows])
        found = fit(features, self._encoding.groups, targets[rows], start)
        return found, {_NOTE: [size, *found.logs.tolist()]}

    def _judged(self, observation: Observation) -> tuple[int, float]:
        """Whether a trial has a value, failed or is running, and its value, smaller is better."""
        if observation.state == "running":
            return _RUNNING, math.inf
        value, curve = observation.value, observation.curve
        if observation.state == "pruned":
            value = next((curve[e] for e in sorted(curve, reverse=True) if math.isfinite(curve[e])), None)
        if observation.state == "failed" or value is None or not math.isfinite(value):
            return _FAILED, math.inf
        return _JUDGED, self._sign * value


def _spread(values: Floats, most: int) -> Any:
    """Indices of at most so many observations: half of them the best, half evenly from the others."""
    order = np.argsort(values, kind="stable")
    if len(order) <= most:
        return np.sort(order)
    rest = np.sort(order[most // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, most - most // 2).round().astype(int)]
    return np.sort(np.concatenate([order[: most // 2], evenly]))
