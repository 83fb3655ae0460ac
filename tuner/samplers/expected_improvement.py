"""Where to look next: the points from which a model expects the most improvement over the best that is known.

The expected improvement of Jones, Schonlau and Welch 1998 ("Efficient Global Optimization of Expensive Black-Box
Functions", section 4), as a logarithm that stays exact where it is tiny (Ament et al. 2023, "Unexpected Improvements to
Expected Improvement", appendix A), so that the search has a slope to follow everywhere.

Several points at once are chosen one after another, each for what it adds to the ones before: those count as observed
at their expected value. Points that share their structure are drawn as pools, and the structure wins whose
members improve most together, for what they cost where that is known.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, log_ndtr

from tuner.samplers.costs import Cost
from tuner.samplers.encoding import Encoding, Flags, Floats, keys
from tuner.samplers.gaussian_process import LEAST_VARIANCE, Posterior

Ints = NDArray[np.int_]

RANDOM, MOVED = 200, 40  # candidates drawn from the whole box; and around each of the best points, in two ways
ANCHORS = 5  # best points around which candidates are drawn
CLIMBERS, CLIMBS, TRIES = 3, 4, 20  # best candidates that are improved further, rounds of it, moves per round
STRUCTURES, POOL = 12, 48  # structures that are compared, and variations of each to choose from


def log_expected_improvement(mean: Floats, variance: Floats, best: float | Floats) -> Floats:
    """The logarithm of the expected improvement below `best`, elementwise; they may broadcast."""
    deviation = np.sqrt(variance)
    z = (best - mean) / deviation
    return np.asarray(np.log(deviation) + _log_h(z))


def _log_h(z: Floats) -> Floats:
    """log(density(z) + z * probability(z)) of the standard normal, without cancellation for very negative z."""
    near, far = np.maximum(z, -1.0), np.clip(z, -1e6, -1.0)
    density = np.exp(-0.5 * near**2) / np.sqrt(2 * np.pi)
    upper = np.log(density + near * np.exp(log_ndtr(near)))
    # probability(z) / density(z) = sqrt(pi / 2) erfcx(-z / sqrt(2)); the difference to 1 / |z| is 1 / |z|^3 at first.
    ratio = -far * np.sqrt(np.pi / 2) * erfcx(-far / np.sqrt(2))
    rest = np.where(far < -1e3, far**-2.0, 1.0 - ratio)
    lower = -0.5 * far**2 - 0.5 * np.log(2 * np.pi) + np.log(rest)
    return np.asarray(np.where(z > -1.0, upper, lower))


class Search:
    """One search for the next points.

    Args:
        encoding: of the space.
        posterior: what is believed.
        known: places of the points that `posterior` was made of.
        tried: has the keys of the places of every point that is not to be tried again.
        draw: where its random numbers come from.
    """

    def __init__(
        self,
        encoding: Encoding,
        posterior: Posterior,
        known: Floats,
        tried: Container[bytes],
        draw: np.random.Generator,
    ) -> None:
        self._encoding, self._posterior, self._draw, self._tried = encoding, posterior, draw, tried
        self._anchors = known[np.argsort(posterior.means, kind="stable")[:ANCHORS]]
        self._best = float(posterior.means.min())

    def best(self) -> Floats:
        """Places of candidates, the most promising first. Points that were tried come last."""
        places = self._candidates()
        scores = self._scores(places)
        order = np.argsort(-scores, kind="stable")
        climbed, heights = self._climbed(places[order[:CLIMBERS]], scores[order[:CLIMBERS]])
        places, scores = np.vstack([climbed, places]), np.concatenate([heights, scores])
        return np.asarray(places[np.argsort(-scores, kind="stable")])

    def together(self, size: int, varied: Flags, cost: Cost | None = None) -> Floats:
        """Places of at most `size` different points that agree but in the `varied` columns, the best one first.

        With `cost` those that improve most for what they cost (Snoek, Larochelle and Adams 2012, "Practical Bayesian
        Optimization of Machine Learning Algorithms", section 3.2).
        """
        pools = [pool for first in self._structures(varied) if len(pool := self._pool(first, varied))]
        if not pools:
            return np.empty((0, len(varied)))
        totals, rows = self._greedy(pools, size)
        if cost is not None:
            totals = totals - np.log([cost(self._encoding.point(pool[0])) for pool in pools])
        best = int(totals.argmax())
        return np.asarray(pools[best][rows[best][: len(pools[best])]])

    def _candidates(self) -> Floats:
        draw, columns = self._draw, self._anchors.shape[1]
        anywhere = self._encoding.snapped(draw.random((RANDOM, columns)))
        around = np.repeat(self._anchors, MOVED // 2, axis=0)
        one = np.arange(columns) == draw.integers(columns, size=len(around))[:, None]
        neighbours = self._encoding.moved(around, one, 0.3, draw)
        few = draw.random(around.shape) < 0.5
        return np.vstack([anywhere, neighbours, self._encoding.moved(around, few, 0.1, draw)])

    def _scores(self, places: Floats) -> Floats:
        mean, variance = self._posterior.predict(self._encoding.features(places))
        scores = log_expected_improvement(mean, variance, self._best)
        return np.where([key in self._tried for key in keys(places)], -np.inf, scores)

    def _climbed(self, places: Floats, scores: Floats) -> tuple[Floats, Floats]:
        """Each of the rows after some rounds of random moves, of which the best one is made where it goes up."""
        for step in 0.2 * 0.5 ** np.arange(CLIMBS):
            around = np.repeat(places, TRIES, axis=0)
            which = self._draw.random(around.shape) < 1.5 / around.shape[1]
            moved = self._encoding.moved(around, which, step, self._draw)
            reached = self._scores(moved).reshape(len(places), TRIES)
            top = reached.argmax(axis=1)
            higher = reached[np.arange(len(places)), top] > scores
            places = np.where(
                higher[:, None], moved.reshape(len(places), TRIES, -1)[np.arange(len(places)), top], places
            )
            scores = np.maximum(scores, reached.max(axis=1))
        return places, scores

    def _structures(self, varied: Flags) -> Floats:
        """Candidates with the best structures, each structure once."""
        places = self.best()
        first: dict[bytes, int] = {}
        for row, key in enumerate(keys(np.where(varied, 0.5, places))):
            first.setdefault(key, row)
        return places[list(first.values())[:STRUCTURES]]

    def _pool(self, first: Floats, varied: Flags) -> Floats:
        """The row and variations of it, everywhere and around the best points, that were not tried."""
        pool = np.repeat(first[None], POOL, axis=0)
        third = POOL // 3
        anywhere = self._draw.random((third, len(first)))
        anchors = self._anchors[self._draw.integers(len(self._anchors), size=third)]
        pool[:third] = np.where(varied, anywhere, pool[:third])
        pool[third : 2 * third] = np.where(varied, anchors, pool[third : 2 * third])
        pool = self._encoding.moved(pool, varied & (np.arange(POOL) >= third)[:, None], 0.1, self._draw)
        pool = np.vstack([self._encoding.snapped(first[None]), pool])
        fresh = {key: row for row, key in enumerate(keys(pool)) if key not in self._tried}
        return np.asarray(pool[sorted(fresh.values())])

    def _greedy(self, pools: Sequence[Floats], size: int) -> tuple[Floats, Ints]:
        """The joint expected improvement of rows of each pool, as a logarithm, and the rows in the order of choice.

        Returns (pools,) and (pools, size); of a pool with fewer rows than `size` only so many of them mean something.
        """
        mean, covariance, absent = self._posterior.together([self._encoding.features(pool) for pool in pools])
        every, size = np.arange(len(pools)), min(size, mean.shape[1])
        totals, best = np.full(len(pools), -np.inf), np.full(len(pools), self._best)
        chosen = np.zeros((len(pools), size), dtype=int)
        for step in range(size):
            variance = np.maximum(np.einsum("pii->pi", covariance), LEAST_VARIANCE)
            scores = np.where(absent, -np.inf, log_expected_improvement(mean, variance, best[:, None]))
            rows = chosen[:, step] = scores.argmax(axis=1)
            totals = np.logaddexp(totals, scores[every, rows])
            absent[every, rows] = True
            best = np.minimum(best, mean[every, rows])
            column = covariance[every, rows]
            seen = column[every, rows] + self._posterior.noise
            covariance = covariance - column[:, :, None] * (column / seen[:, None])[:, None, :]
        return totals, chosen
