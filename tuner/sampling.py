"""Which points of a search space are tried next, from what is known about the earlier ones.

Optuna's samplers propose, by ask and tell on an in-memory study. Nothing there has to survive: a proposal depends
on the study's seed, the trial's number and the observations so far, and on nothing else, so a sampler that was
rebuilt from rows proposes what the one that lived through them would have proposed. For that each proposal is made
by a fresh Optuna sampler, seeded by (study seed, trial number), over trials ordered by number.

Lambdas are numbers in [0, 1] to Optuna, with the share for zero at the lower end. A trial that failed, or whose
objective is not finite, is FAIL there: plus infinity would be the best trial under `maximize`, and a lost trial
left RUNNING would push proposals away from its point for ever.

Three of the samplers are not Optuna's classes. `qmc` and `grid`: see tuner/sequences.py. `cmaes`: Optuna keeps its
state as a pickle in the trials' attributes, which would come back from the database; here it is played again
from the rows, by the same library. `gp` draws conditional parameters, `cmaes` those and choices, at random.

Milliseconds per proposal, the 9 parameters of `mlp`, one core, after 10 / 100 / 500 finished trials: tpe 7 / 24 / 68
(of which Optuna itself 61), random 1 / 1 / 1, grid and qmc 0.1, cmaes 2 / 5 / 21, gp 700 / 1,700 / 3,400: it fits its
kernel from scratch each time, because a fit that started from the last one would not be found again after a restart.
Reading 1,000 rows takes 0.1 s.
"""

from __future__ import annotations

import importlib.util
import math
import warnings
from collections import Counter
from typing import Any

from search_spaces import Choice, Fixed, Int, Space
from tuner.errors import InvalidInput
from tuner.evolution import CovarianceAdaptation
from tuner.points import (
    Exhausted,
    Method,
    Observation,
    Proposal,
    Taken,
    define_by_run,
    key_of,
    random_point,
    stable_seed,
)
from tuner.sequences import Grid, Sobol

__all__ = ["KINDS", "Exhausted", "Observation", "Proposal", "Sampler", "available", "trial_seed"]

KINDS = ("tpe", "random", "grid", "qmc", "gp", "cmaes")

_EXTRAS = {"gp": ("torch", "scipy"), "cmaes": ("cmaes",)}  # modules that only an extra installs

_OWN_DRAWS, _RANDOM_DRAWS = 3, 10  # so often a point that is taken is drawn again, first by the sampler itself


def trial_seed(study_seed: int, number: int) -> int:
    """The seed of a trial's training, the same for every attempt at it, 0 to 2**32 - 1."""
    return stable_seed("trial", study_seed, number)


def available(kind: str) -> str | None:
    """What to install before the sampler `kind` can be used, as a sentence; None where nothing is missing."""
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

    Raises:
        InvalidInput: an unknown kind, or one that needs an extra that is not installed.
    """

    def __init__(self, space: Space, kind: str, seed: int, direction: str) -> None:
        if kind not in KINDS:
            raise InvalidInput(f"The sampler is {kind!r}; expected one of {', '.join(KINDS)}.")
        if problem := available(kind):
            raise InvalidInput(problem)
        self._seed = seed
        self._space = space
        self._taken: Counter[str] = Counter()
        self._keys: dict[int, str] = {}
        self._method = _method(kind, space, seed, direction)

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

    def _is_taken(self, params: dict[str, Any]) -> bool:
        return self._taken[key_of(params)] > 0


def _method(kind: str, space: Space, seed: int, direction: str) -> Method:
    if kind == "grid":
        return Grid(space, seed)
    if kind == "qmc":
        return Sobol(space, seed)
    if kind == "cmaes":
        return CovarianceAdaptation(space, direction)
    return _Optuna(kind, space, direction)


class _Optuna:
    """`tpe`, `random` and `gp`: Optuna's samplers over an in-memory study whose trials can be replaced."""

    def __init__(self, kind: str, space: Space, direction: str) -> None:
        import optuna

        self._kind, self._space = kind, space
        self._distributions = {name: _distribution(domain) for name, domain in space.free.items()}
        self._storage = optuna.storages.InMemoryStorage()
        loud = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # creating a study is worth a line to Optuna only
        self._study = optuna.create_study(storage=self._storage, direction=direction)
        optuna.logging.set_verbosity(loud)
        self._rows = 0

    def observe(self, observation: Observation) -> None:
        while self._rows <= observation.number:
            self._storage.create_new_trial(0, template_trial=_frozen(Observation(self._rows, "failed", {}), {}, {}))
            self._rows += 1
        known = [name for name in observation.params if name in self._distributions]
        trial = _frozen(
            observation,
            {name: self._encoded(name, observation.params[name]) for name in known},
            {name: self._distributions[name] for name in known},
        )
        # Optuna has no public way to replace a trial. Its version is pinned, and the tests would show a change.
        self._storage._set_trial(observation.number, trial)

    def propose(self, number: int, seed: int, taken: Taken) -> Proposal:  # noqa: ARG002
        self._study.sampler = self._sampler(seed)
        trial = self._study.ask()
        self._rows += 1
        params = define_by_run(self._space, lambda name: self._asked(trial, name))
        # Nobody runs it before it is observed, and a trial left RUNNING would count for ever.
        self.observe(Observation(trial.number, "failed", {}))
        return Proposal(params)

    def _asked(self, trial: Any, name: str) -> Any:
        domain = self._space.parameters[name]
        if isinstance(domain, Fixed):
            return domain.value
        value = _suggest(trial, name, self._distributions[name])
        return domain.from_unit(value) if _in_unit_box(domain) else value

    def _encoded(self, name: str, value: Any) -> Any:
        domain = self._space.parameters[name]
        return domain.to_unit(value) if _in_unit_box(domain) else value

    def _sampler(self, seed: int) -> Any:
        from optuna import exceptions, samplers

        if self._kind == "random":
            return samplers.RandomSampler(seed=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", exceptions.ExperimentalWarning)
            if self._kind == "gp":
                return samplers.GPSampler(seed=seed, warn_independent_sampling=False)
            # In groups it learns about parameters that are active in some trials only.
            return samplers.TPESampler(seed=seed, group=bool(self._space.conditions))


def _in_unit_box(domain: Any) -> bool:
    """Whether Optuna sees the unit interval instead of the values: floats, Lambdas, and factors as a step."""
    return not isinstance(domain, Choice) and not (isinstance(domain, Int) and (domain.step == 1 or not domain.log))


def _distribution(domain: Any) -> Any:
    from optuna import distributions

    if isinstance(domain, Choice):
        return distributions.CategoricalDistribution(domain.options)
    if _in_unit_box(domain):
        return distributions.FloatDistribution(0.0, 1.0)
    high = domain.low + (domain.high - domain.low) // domain.step * domain.step
    return distributions.IntDistribution(domain.low, high, log=domain.log, step=domain.step)


def _suggest(trial: Any, name: str, distribution: Any) -> Any:
    from optuna import distributions

    if isinstance(distribution, distributions.CategoricalDistribution):
        return trial.suggest_categorical(name, distribution.choices)
    if isinstance(distribution, distributions.IntDistribution):
        return trial.suggest_int(
            name, distribution.low, distribution.high, step=distribution.step, log=distribution.log
        )
    return trial.suggest_float(name, distribution.low, distribution.high)


def _frozen(observation: Observation, params: dict[str, Any], distributions: dict[str, Any]) -> Any:
    """The trial as Optuna keeps it, with the one point of its curve that TPE compares pruned trials by."""
    from optuna.trial import FrozenTrial, TrialState

    finite = observation.value is not None and math.isfinite(observation.value)
    state = {"running": TrialState.RUNNING, "pruned": TrialState.PRUNED}.get(observation.state, TrialState.FAIL)
    reached = {}
    if observation.state == "complete" and finite:
        state = TrialState.COMPLETE
    elif observation.state == "pruned":
        reached = dict(sorted((e, v) for e, v in observation.curve.items() if math.isfinite(v))[-1:])
    return FrozenTrial(
        number=observation.number,
        trial_id=observation.number,
        state=state,
        value=observation.value if state == TrialState.COMPLETE else None,
        intermediate_values=reached,
        params=params,
        distributions=distributions,
        datetime_start=None,
        datetime_complete=None,
        user_attrs={},
        system_attrs={},
    )
