"""The samplers `tpe` and `random`: Optuna's, asked for one trial at a time, over an in-memory study made of the rows.

Lambdas are numbers in [0, 1] to Optuna, with the share for zero at the lower end. A trial that failed, or whose
objective is not finite, is FAIL there: plus infinity would be the best trial under `maximize`, and a lost trial
left RUNNING would push proposals away from its point for ever.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np

from search_spaces import Choice, Fixed, Int, Space
from tuner.samplers.one_thread import one_thread
from tuner.samplers.points import Observation, Proposal, Taken, define_by_run, distinct, variation
from tuner.samplers.sequences import Sobol
from tuner.samplers.variations import Variations

START = 10  # structures of a Sobol sequence before TPE is asked; it would draw as many at random itself
ENOUGH = 8  # finished trials for each of them after which TPE is asked in any case


class OptunaSampler:
    """`tpe` and `random`: Optuna's samplers over an in-memory study whose trials can be replaced."""

    def __init__(self, kind: str, space: Space, seed: int, direction: str) -> None:
        import optuna

        self._kind, self._space, self._direction = kind, space, direction
        self._start = Sobol(space, seed)
        self._distributions = {name: _distribution(domain) for name, domain in space.free.items()}
        self._storage = optuna.storages.InMemoryStorage()
        loud = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.WARNING)  # creating a study is worth a line to Optuna only
        self._study = optuna.create_study(storage=self._storage, direction=direction)
        optuna.logging.set_verbosity(loud)
        self._rows = 0
        self._finished = Variations(space, direction)

    def observe(self, observation: Observation) -> None:
        if self._kind == "random":
            return  # it learns nothing
        self._finished.observe(observation)
        while self._rows <= observation.number:
            self._storage.create_new_trial(0)  # without a template, of which Optuna would make a deep copy
            if self._rows < observation.number:
                self._storage._set_trial(self._rows, _frozen(Observation(self._rows, "failed", {}), {}, {}))
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

    def forget(self, number: int) -> None:
        self.observe(Observation(number, "failed", {}))

    def propose_together(
        self, number: int, size: int, varied: Collection[str], seed: int, taken: Taken
    ) -> list[Proposal]:
        draw = np.random.default_rng(seed)
        if self._kind == "random":
            anywhere = self._anywhere(self.propose(number, seed, taken).params, varied, draw)
            return distinct(map(Proposal, anywhere), size, taken)
        first = self._structure(number, seed, varied, taken)
        if first is None:
            return self._start.propose_together(number, size, varied, seed, taken)
        with one_thread():
            return distinct(map(Proposal, chain([first], self._finished.draws(first, varied, draw))), size, taken)

    def _structure(self, number: int, seed: int, varied: Collection[str], taken: Taken) -> dict[str, Any] | None:
        """A point with the structure to try next; None while too few have been tried."""
        structures = self._finished.representatives(varied)
        if len(structures) < START:  # later there will hardly be more: the space is small
            known = len(self._finished)
            return self.propose(number, seed, taken).params if known >= ENOUGH * START else None
        study = OptunaSampler(self._kind, self._space, seed, self._direction)
        for place, observation in enumerate(structures):
            study.observe(replace(observation, number=place))
        return study.propose(len(structures), seed, taken).params

    def _anywhere(self, first: dict[str, Any], varied: Collection[str], draw: Any) -> Iterator[dict[str, Any]]:
        while True:
            yield variation(self._space, first, varied, {name: float(draw.random()) for name in sorted(varied)})

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
