"""Which points of a search space are tried next, from what is known about the earlier ones.

A proposal depends on the study's seed, the trial's number and the observations so far, and on nothing else, so a
sampler that was rebuilt from rows proposes what the one that lived through them would have proposed. For that each
proposal is drawn anew, seeded by (study seed, trial number), over trials ordered by number.

`tpe` and `random` are Optuna's, by ask and tell on an in-memory study (optuna_samplers.py). The others are not.
`gp`, the default: Optuna's needs PyTorch and 0.7 to 3.4 s per proposal; see bayesian.py. `qmc` and `grid`: see
sequences.py. `cmaes`: Optuna keeps its state as a pickle in the trials' attributes, which would come back from
the database; here it is played again from the rows, by the same library. It draws choices and conditional parameters
at random.

Milliseconds per trial, alone and eight together, the 9 parameters of `mlp`, one core, after 100 / 500 / 2,000 finished
trials: gp alone 3 / 10 / 10, together 1.3 / 3 / 3; tpe alone 5 / 13 / 40, together 1 / 2 / 5; cmaes 0.2 / 0.5 / 1.5,
random 0.3, grid and qmc 0.1. Reading 1,000 rows takes 0.1 s.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from collections.abc import Collection
from typing import Any

from search_spaces import Space
from tuner.errors import InvalidInput
from tuner.samplers.costs import Cost
from tuner.samplers.evolution import CovarianceAdaptation
from tuner.samplers.points import (
    Exhausted,
    Method,
    Observation,
    Proposal,
    key_of,
    random_point,
    stable_seed,
)
from tuner.samplers.sequences import Grid, Sobol

__all__ = ["KINDS", "Exhausted", "Observation", "Proposal", "Sampler", "available", "trial_seed"]

KINDS = ("gp", "tpe", "random", "grid", "qmc", "cmaes")

_EXTRAS = {"cmaes": ("cmaes",)}  # modules that only an extra installs

_OWN_DRAWS, _RANDOM_DRAWS = 3, 10  # so often a point that is taken is drawn again, first by the sampler itself


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's training, the same for every attempt at it, 0 to 2**32 - 1."""
    return stable_seed("trial", study_seed, number)


def available(kind: str) -> str | None:
    """Why the sampler `kind` cannot be used here, with what to install, as a sentence; None where it can."""
    if kind not in KINDS:
        return f"The sampler is {kind!r}; expected one of {', '.join(KINDS)}."
    missing = [name for name in _EXTRAS.get(kind, ()) if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return (
        f"The sampler {kind!r} needs {' and '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
        f'installed. Type: pip install "ockham[{kind}]"'
    )


class Sampler:
    """Proposes points of a space. Build it anew from all observations after a restart.

    Args:
        space: what is searched.
        kind: one of `KINDS`.
        seed: of the study.
        direction: which objective is better, "minimize" or "maximize".
        cost: what a trial costs; `gp` then proposes together what promises most for its cost. None: all cost the same.

    Raises:
        InvalidInput: an unknown kind, or one that needs an extra that is not installed.
    """

    def __init__(self, space: Space, kind: str, seed: int, direction: str, cost: Cost | None = None) -> None:
        if problem := available(kind):
            raise InvalidInput(problem)
        self._seed = seed
        self._space = space
        self._taken: Counter[str] = Counter()
        self._keys: dict[int, str] = {}
        self._method = _method(kind, space, seed, direction, cost)

    def observe(self, observation: Observation) -> None:
        """Add a trial, or replace what was known about it. The order of the calls does not matter."""
        key = key_of(observation.params)
        if old := self._keys.get(observation.number):
            self._taken[old] -= 1
        self._keys[observation.number] = key
        self._taken[key] += 1
        self._method.observe(observation)

    def propose(self, number: int) -> Proposal:
        """A point for trial `number`. It counts as taken only once it is observed as running.

        A point that another trial already has is avoided where that is cheap: it can come again in a space of few
        points, except from `grid`.

        Raises:
            Exhausted: the grid has no further point.
        """
        proposal = self._method.propose(number, stable_seed("sampler", self._seed, number), self._is_taken)
        for attempt in range(1, _OWN_DRAWS + _RANDOM_DRAWS):
            if not self._is_taken(proposal.params):
                break
            seed = stable_seed("sampler", self._seed, number, attempt)
            if attempt < _OWN_DRAWS:
                proposal = self._method.propose(number, seed, self._is_taken)
            else:
                proposal = Proposal(random_point(self._space, seed))
        return proposal

    def propose_together(self, number: int, size: int, varied: Collection[str]) -> list[Proposal]:
        """Points for the trials from `number` on that agree in everything but the parameters `varied`.

        Models that differ in these parameters alone can be trained as one program. A parameter that decides whether
        another one is active varies only if that one is named in `varied` as well: the points have the same active
        parameters. With one point, or nothing that can vary, the points are proposed one by one.

        Args:
            number: of the first trial; the others follow it.
            size: how many points, at least 1.
            varied: names of parameters.

        Returns:
            `size` proposals; fewer where the parameters have no more values that were not tried.

        Raises:
            InvalidInput: a name that the space does not have, or a size below 1.
            Exhausted: the grid has no further point.
        """
        free = self._free_to_vary(size, varied)
        if size == 1 or not free:
            return self._one_by_one(number, size)
        seed = stable_seed("cohort", self._seed, number)
        # None: every variation of this structure was tried.
        return self._method.propose_together(number, size, free, seed, self._is_taken) or [self.propose(number)]

    def _free_to_vary(self, size: int, varied: Collection[str]) -> set[str]:
        """The names that can vary without a change in what else is active."""
        unknown = sorted(set(varied) - set(self._space.parameters))
        if unknown or size < 1:
            raise InvalidInput(
                f"The space has no parameter {unknown[0]!r}; it has {', '.join(self._space.parameters)}."
                if unknown
                else f"{size} points cannot be proposed together; expected at least 1."
            )
        free = set(varied) & set(self._space.free)
        # In `order` a child comes after its parents: from the last on, what keeps a child unvaried is known.
        for child in reversed(self._space.order):
            if child not in free:
                free -= set(self._space.conditions.get(child, ()))
        return free

    def _one_by_one(self, number: int, size: int) -> list[Proposal]:
        proposals = [self.propose(number)]
        for following in range(number + 1, number + size):
            last = proposals[-1]
            self.observe(Observation(following - 1, "running", last.params, None, {}, last.notes))
            proposals.append(self.propose(following))
        for lent in range(number, number + size - 1):
            self._taken[self._keys.pop(lent)] -= 1
            self._method.forget(lent)
        return proposals

    def _is_taken(self, params: dict[str, Any]) -> bool:
        return self._taken[key_of(params)] > 0


def _method(kind: str, space: Space, seed: int, direction: str, cost: Cost | None) -> Method:
    if kind == "grid":
        return Grid(space, seed)
    if kind == "qmc":
        return Sobol(space, seed)
    if kind == "cmaes":
        return CovarianceAdaptation(space, direction)
    if kind == "gp":
        from tuner.samplers.bayesian import GaussianProcess  # imports SciPy

        return GaussianProcess(space, seed, direction, cost)
    from tuner.samplers.optuna_samplers import OptunaSampler

    return OptunaSampler(kind, space, seed, direction)
