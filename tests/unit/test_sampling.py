"""The samplers: the same proposals after a restart, valid points, and nothing non-finite or lost in Optuna."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Choice, Float, Int, Lambda, Space
from tests.histories import BRANCHED, FLAT, SPACES, USABLE, History
from tuner.errors import InvalidInput
from tuner.samplers.points import random_point
from tuner.samplers.sampling import Exhausted, Observation, Sampler, available, trial_seed


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", USABLE)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_restart_proposes_what_would_have_been_proposed(name: str, kind: str, seed: int) -> None:
    history = History(SPACES[name], kind, seed)
    try:
        for step in range(90):
            history.step()
            if step % 9 == 0:
                assert history.proposed(history.rebuilt()) == history.proposed(history.sampler)
    except Exhausted:
        assert kind == "grid"
        with pytest.raises(Exhausted):
            history.rebuilt().propose(len(history.rows))
    assert len(history.rows) > 15


@given(order=st.permutations(range(14)), kind=st.sampled_from(["tpe", "qmc", "grid", "gp"]))
@settings(max_examples=25, deadline=None)
def test_the_order_in_which_trials_are_told_changes_nothing(order: list[int], kind: str) -> None:
    first, second = (Sampler(FLAT, kind, 5, "maximize") for _ in range(2))
    for number in range(14):
        first.observe(observation(number, value=float(number % 5)))
    for number in order:
        second.observe(Observation(number, "running", random_point(FLAT, number)))
    for number in reversed(order):
        second.observe(observation(number, value=float(number % 5)))
    assert first.propose(14) == second.propose(14) == second.propose(14)


@pytest.mark.parametrize("kind", USABLE)
@pytest.mark.parametrize("name", SPACES)
def test_proposals_are_valid_points_of_active_parameters(kind: str, name: str) -> None:
    space = SPACES[name]
    history = History(space, kind, 11)
    for _ in range(60):
        history.step()
    for row in history.rows.values():
        space.validate(row.params)
        assert set(row.params) == set(space.active(row.params))
        assert space.complete(row.params) == row.params  # every value in the form in which it is stored
    if space is FLAT:
        assert {row.params["epochs"] for row in history.rows.values()} == {5}
        assert {row.params["batch"] for row in history.rows.values()} == {32, 64, 128}
    else:
        assert len({frozenset(row.params) for row in history.rows.values()}) >= 3  # of four sets of active names


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_a_lambda_is_zero_in_its_share_of_proposals_and_comes_back_exactly(kind: str) -> None:
    space = Space({"l2": Lambda(1e-6, 1.0, zero=0.3), "x": Float(0, 1)})
    sampler = Sampler(space, kind, 0, "minimize")
    values = [sampler.propose(number).params["l2"] for number in range(300)]
    assert 0.24 < values.count(0.0) / 300 < 0.36
    domain = space.parameters["l2"]
    assert all(domain.from_unit(domain.to_unit(value)) == value for value in values)


def test_tpe_proposes_what_optunas_own_study_proposes() -> None:
    import optuna

    space = Space({"units": Int(1, 50), "kind": Choice(["a", "b", "c"]), "share": Float(0, 1)})
    sampler = Sampler(space, "tpe", 3, "maximize")
    distributions = {
        "units": optuna.distributions.IntDistribution(1, 50),
        "kind": optuna.distributions.CategoricalDistribution(["a", "b", "c"]),
        "share": optuna.distributions.FloatDistribution(0, 1),
    }
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize")
    for number in range(40):
        params = random_point(space, number)
        pruned = number % 4 == 0
        told = Observation(number, "pruned" if pruned else "complete", params, number * 0.1, {1: 0.0, 2: number * 0.1})
        sampler.observe(told)
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.PRUNED if pruned else optuna.trial.TrialState.COMPLETE,
                params=params,
                distributions=distributions,
                value=None if pruned else number * 0.1,
                intermediate_values={1: 0.0, 2: number * 0.1},
            )
        )
    seeds = []
    original = optuna.samplers.TPESampler
    sampler._method._sampler = lambda seed: seeds.append(seed) or original(seed=seed)  # type: ignore[attr-defined,func-returns-value]
    ours = sampler.propose(40).params
    study.sampler = original(seed=seeds[0])
    theirs = study.ask(dict(sorted(distributions.items()))).params
    assert {**theirs, "share": round(theirs["share"], 9)} == {**ours, "share": round(ours["share"], 9)}


def observation(number: int, state: Any = "complete", **more: Any) -> Observation:
    return Observation(number, state, random_point(FLAT, number), **more)


def optunas_rows(sampler: Sampler) -> Mapping[int, Any]:
    return dict(enumerate(sampler._method._study.get_trials(deepcopy=False)))  # type: ignore[attr-defined]


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_what_is_not_finite_reaches_optuna_as_failed(direction: str) -> None:
    sampler = Sampler(FLAT, "tpe", 0, direction)
    for number, value in enumerate([math.inf, -math.inf, math.nan, None, 1.0]):
        sampler.observe(observation(number, value=value))
    sampler.observe(observation(5, "pruned", curve={1: 0.5, 2: math.inf, 3: math.nan}))
    sampler.observe(observation(6, "failed", value=2.0))
    rows = optunas_rows(sampler)
    assert [rows[number].state.name for number in range(7)] == ["FAIL"] * 4 + ["COMPLETE", "PRUNED", "FAIL"]
    assert [rows[number].value for number in range(5)] == [None, None, None, None, 1.0]
    assert rows[5].intermediate_values == {1: 0.5}
    assert all(not row.values or all(map(math.isfinite, row.values)) for row in rows.values())


def test_a_trial_is_running_for_optuna_only_while_it_runs() -> None:
    sampler = Sampler(FLAT, "tpe", 0, "minimize")

    def running() -> list[int]:
        return [number for number, row in optunas_rows(sampler).items() if row.state.name == "RUNNING"]

    proposal = sampler.propose(7)  # trials 0 to 6 are not known yet, and this proposal is lost
    assert running() == []
    sampler.observe(Observation(7, "running", proposal.params, None, {}, proposal.notes))
    assert running() == [7]
    sampler.propose(8)
    sampler.propose(8)
    assert running() == [7]
    sampler.observe(Observation(7, "failed", proposal.params))
    assert running() == []


def test_running_trials_push_proposals_away() -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})

    def proposed(crowd: int) -> list[float]:
        sampler = Sampler(space, "tpe", 0, "minimize")
        for number in range(30):
            params = random_point(space, number)
            sampler.observe(Observation(number, "complete", params, abs(params["x"] - 0.5)))
        for number in range(30, 30 + crowd):
            sampler.observe(Observation(number, "running", {"x": 0.5, "y": number / 100}))
        return [abs(sampler.propose(number).params["x"] - 0.5) for number in range(60, 80)]

    assert sum(proposed(20)) > sum(proposed(0))


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("kind", [kind for kind in ("tpe", "gp", "cmaes") if kind in USABLE])
def test_proposals_gather_where_the_objective_is_good(kind: str, direction: str) -> None:
    space = Space({"x": Float(0, 1), "rate": Float(1e-4, 1.0, log=True)})
    sampler = Sampler(space, kind, 1, direction)
    sign = 1 if direction == "minimize" else -1
    distances = []
    for number in range(60):
        proposal = sampler.propose(number)
        distance = (proposal.params["x"] - 0.2) ** 2 + (math.log10(proposal.params["rate"]) + 1) ** 2 / 16
        sampler.observe(Observation(number, "complete", proposal.params, sign * distance, {}, proposal.notes))
        distances.append(distance)
    # The middle one: a Gaussian process that has found the best point spends the odd trial on the far corners.
    assert median(distances[-10:]) < median(distances[:10]) / 2


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc"])
def test_a_point_that_was_tried_is_avoided_while_others_are_left(kind: str) -> None:
    space = Space({"a": Choice(["x", "y", "z"]), "b": Int(1, 8)})
    repeats = []
    for seed in range(10):
        sampler = Sampler(space, kind, seed, "minimize")
        points: Counter[str] = Counter()
        for number in range(16):
            proposal = sampler.propose(number)
            points[json.dumps(proposal.params, sort_keys=True)] += 1
            sampler.observe(Observation(number, "complete", proposal.params, 0.0))
        repeats.append(16 - len(points))
    assert sum(repeats) <= 1  # of 160, in spaces of 24 points
    for number in range(16, 60):  # more trials than points: repeated, not refused
        sampler.observe(Observation(number, "complete", sampler.propose(number).params, 0.0))


def test_seeds_are_stable_and_differ() -> None:
    assert [trial_seed(0, 0), trial_seed(0, 1), trial_seed(1, 0)] == [4230151077, 2879546295, 2302488137]
    seeds = {trial_seed(study, number) for study in range(20) for number in range(100)}
    assert len(seeds) == 2000
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_other_seeds_and_other_numbers_propose_other_points() -> None:
    for kind in ("tpe", "random", "qmc"):
        points = [Sampler(FLAT, kind, seed, "minimize").propose(number).params for seed in (0, 1) for number in (0, 1)]
        assert len({json.dumps(point) for point in points}) == 4


def test_what_is_unknown_or_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidInput, match=r"'bayes'; expected one of gp, tpe, random, grid, qmc, cmaes"):
        Sampler(FLAT, "bayes", 0, "minimize")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert available("tpe") is None
    assert available("cmaes") == (
        "The sampler 'cmaes' needs cmaes, which is not installed. Type: pip install \"ockham[cmaes]\""
    )
    with pytest.raises(InvalidInput, match=r"cmaes, which is not installed.*ockham\[cmaes\]"):
        Sampler(FLAT, "cmaes", 0, "minimize")


def test_optuna_is_imported_only_when_a_sampler_is_made() -> None:
    program = (
        "import sys, tuner.samplers.sampling, tuner.pruners.stopping, tuner.coordination.budgets; "
        "print([name for name in ('optuna', 'numpy', 'scipy', 'cmaes') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_making_a_sampler_says_nothing_and_leaves_optunas_logging_alone(capfd: pytest.CaptureFixture[str]) -> None:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    Sampler(BRANCHED, "tpe", 0, "minimize").propose(0)
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert capfd.readouterr() == ("", "")
