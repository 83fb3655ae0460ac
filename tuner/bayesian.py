"""The `gp` sampler: a Gaussian process over the trials so far, asked for the most expected improvement.

What was measured to work (docs/benchmarks.md has a table): ten trials of a Sobol sequence first, then a regression that
is fitted at every trial while there are few, and at every 8 % of growth later. A fit starts from the last one, which is
kept in the notes of the trial that was proposed with it: the rows alone say what comes next, also after a restart.

A pruned trial counts as no better than it was when it was stopped, and as no better than half of the complete
ones: at its epoch all were worse than at their end. A failed one counts as the worst objective seen: nobody can use it,
and a region where training diverges must not look unexplored for ever. A running one: see `Posterior`.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import numpy as np

from search_spaces import Space
from tuner.encoding import Encoding, Floats, keys
from tuner.expected_improvement import Search
from tuner.gaussian_process import Hyperparameters, Posterior, compressed, fit
from tuner.points import Observation, Proposal, Taken, distinct
from tuner.sequences import Sobol

START = 10  # finished trials with an objective before the first regression
_OFTEN, _GROWTH = 40, 1.08  # a fit at each trial up to here, then when there are so many times more
_MOST_FITTED, _MOST_KNOWN = 250, 400  # observations in a fit, and in the posterior; the work grows with their cube
_MOST_PENDING = 100  # running trials that are taken into account
_RANKED = 20  # candidates that are looked at for one that nobody has
_NOTE = "gp_fit"  # how many trials were fitted, and the logarithms of the hyperparameters


class GaussianProcess:
    """`gp`: Bayesian optimization by the rows of a study."""

    def __init__(self, space: Space, seed: int, direction: str) -> None:
        self._encoding = Encoding(space)
        self._start = Sobol(space, seed)
        self._sign = 1.0 if direction == "minimize" else -1.0
        self._rows: dict[int, tuple[Observation, Floats]] = {}
        self._fits: dict[int, list[float]] = {}

    def observe(self, observation: Observation) -> None:
        self.forget(observation.number)
        if observation.params:
            self._rows[observation.number] = observation, self._encoding.places(observation.params)
        if len(observation.notes.get(_NOTE, ())) == len(self._encoding.names) + 3:
            self._fits[observation.number] = observation.notes[_NOTE]

    def forget(self, number: int) -> None:
        self._rows.pop(number, None)
        self._fits.pop(number, None)

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:
        search, notes = self._search(seed)
        if search is None:
            return self._start.propose(number, seed, taken)
        points = [self._encoding.point(places) for places in search.best()[:_RANKED]]
        return Proposal(next((point for point in points if not taken(point)), points[0]), notes)

    def propose_together(
        self, number: int, size: int, varied: Collection[str], seed: int, taken: Taken
    ) -> list[Proposal]:
        search, notes = self._search(seed)
        if search is None:
            return self._start.propose_together(number, size, varied, seed, taken)
        chosen = search.together(size, self._encoding.columns(varied))
        proposals = distinct((Proposal(self._encoding.point(places)) for places in chosen), size, taken)
        return [Proposal(proposal.params, {} if k else notes) for k, proposal in enumerate(proposals)]

    def _search(self, seed: int) -> tuple[Search | None, dict[str, Any]]:
        """The search for the next points, and what to note on a trial that comes of it; None before the first fit."""
        known, values, pending = self._table()
        if len(known) < START:
            return None, {}
        targets, encoding = compressed(values), self._encoding
        fitted = max(self._fits.values(), default=[0.0])
        notes = {}
        if len(values) > fitted[0] and (len(values) <= _OFTEN or len(values) >= fitted[0] * _GROWTH):
            rows = _spread(values, _MOST_FITTED)
            usual = Hyperparameters.usual(len(encoding.names))
            start = Hyperparameters(fitted[1:]) if fitted[1:] else usual
            found = fit(encoding.features(known[rows]), encoding.groups, targets[rows], start)
            fitted = [len(values), *found.logs.tolist()]
            notes = {_NOTE: fitted}
        rows = _spread(values, _MOST_KNOWN)
        features = encoding.features(known[rows]), encoding.features(pending)
        posterior = Posterior(features[0], encoding.groups, targets[rows], features[1], Hyperparameters(fitted[1:]))
        tried = set(keys(np.array([places for _, places in self._rows.values()])))
        return Search(encoding, posterior, np.vstack([known[rows], pending]), tried, np.random.default_rng(seed)), notes

    def _table(self) -> tuple[Floats, Floats, Floats]:
        """Places of the finished trials, what each counts as, smaller is better, and places of the running ones."""
        complete: list[tuple[Floats, float]] = []
        pruned: list[tuple[Floats, float]] = []
        failed, running = [], []
        for _, (row, places) in sorted(self._rows.items()):
            value = self._value(row)
            if row.state == "running":
                running.append(places)
            elif value is None:
                failed.append(places)
            else:
                (complete if row.state == "complete" else pruned).append((places, value))
        half = float(np.median([value for _, value in complete])) if complete else -math.inf
        told = [*complete, *((places, max(value, half)) for places, value in pruned)]
        if len(told) < START:
            return np.empty((0, 0)), np.empty(0), np.empty((0, 0))
        worst = max(value for _, value in told)
        told += [(places, worst) for places in failed]
        pending = np.array(running[-_MOST_PENDING:]).reshape(-1, len(self._encoding.names))
        return np.array([places for places, _ in told]), np.array([value for _, value in told]), pending

    def _value(self, row: Observation) -> float | None:
        """The objective, or the last one that a pruned trial reported, smaller is better; None for a failure."""
        value = row.value if row.state == "complete" else None
        if row.state == "pruned":
            value = next((row.curve[e] for e in sorted(row.curve, reverse=True) if math.isfinite(row.curve[e])), None)
        return None if value is None or not math.isfinite(value) else self._sign * value


def _spread(values: Floats, most: int) -> Any:
    """Indices of at most so many observations: half of them the best, half evenly from the others."""
    order = np.argsort(values, kind="stable")
    if len(order) <= most:
        return np.sort(order)
    rest = np.sort(order[most // 2 :])
    evenly = rest[np.linspace(0, len(rest) - 1, most - most // 2).round().astype(int)]
    return np.sort(np.concatenate([order[: most // 2], evenly]))
