"""Points that are proposed together: one structure, different variations, and the same ones after a restart."""

from __future__ import annotations

import json
import math
from collections import Counter
from statistics import median
from typing import Any

import pytest

from search_spaces import Choice, Fixed, Float, Int, Lambda, Space
from search_spaces.mlp import mlp
from tests.histories import BRANCHED, FLAT, SPACES, USABLE, History
from tuner.errors import InvalidInput
from tuner.samplers.costs import cost_of
from tuner.samplers.points import random_point
from tuner.samplers.sampling import Exhausted, Observation, Proposal, Sampler

VARIED = {"flat": ("rate", "l2", "momentum"), "branched": ("l1", "momentum")}
LIFTABLE = ("learning_rate", "l1", "l2", "dropout")


def trained(space: Space, kind: str, trials: int, seed: int = 0) -> Sampler:
    """A sampler that knows some complete trials, the better the nearer their numbers are to 0.4."""
    return observed(Sampler(space, kind, seed, "minimize"), space, trials)


def observed(sampler: Sampler, space: Space, trials: int) -> Sampler:
    for number in range(trials):
        params = random_point(space, number)
        units = space.to_unit(params)
        value = sum((place - 0.4) ** 2 for name, place in units.items() if name in space.free)
        sampler.observe(Observation(number, "complete", params, value))
    return sampler


def test_structures_are_compared_by_what_they_promise_for_their_cost() -> None:
    space, cheaper = mlp(), 0
    cost = cost_of(space, {})
    assert cost is not None
    for seed in range(8):
        dear, same, cheap = (
            observed(Sampler(space, "gp", seed, "minimize", by), space, 48).propose_together(48, 4, LIFTABLE)
            for by in (None, lambda _: 3.0, cost)
        )
        assert texts(dear) == texts(same)
        assert cost(cheap[0].params) <= cost(dear[0].params)
        cheaper += cost(cheap[0].params) < cost(dear[0].params)
    assert cheaper >= 2


def test_the_cost_of_a_trial_follows_its_weights_and_steps() -> None:
    cost = cost_of(mlp(), {"input_shape": [64], "classes": 10})
    assert cost is not None
    point = {"depth": 2, "width": 64, "batch_size": 32}
    for dearer in ({"depth": 3}, {"width": 65}, {"batch_size": 31}):
        assert cost({**point, **dearer}) > cost(point)
    for shape in ([8, 108], {"a": [8], "b": [8, 108]}, [[8], [None, 108]]):
        wider = cost_of(mlp(), {"input_shape": shape, "classes": None})
        assert wider is not None
        assert wider(point) > cost(point)
    assert cost_of(SPACES["flat"], {"input_shape": [64]}) is None, "nobody knows what a user's model costs"


def structure(params: dict[str, Any], varied: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if name not in varied}


def texts(proposals: list[Proposal]) -> list[str]:
    return [json.dumps(proposal.params, sort_keys=True) for proposal in proposals]


@pytest.mark.parametrize("trials", [0, 30])
@pytest.mark.parametrize("kind", USABLE)
@pytest.mark.parametrize("name", SPACES)
def test_they_agree_in_structure_and_differ_in_every_variation(name: str, kind: str, trials: int) -> None:
    space, varied = SPACES[name], VARIED[name]
    sampler = trained(space, kind, trials)
    proposals = sampler.propose_together(trials, 8, varied)
    assert len(proposals) == 8
    assert len(set(texts(proposals))) == 8
    for proposal in proposals:
        assert structure(proposal.params, varied) == structure(proposals[0].params, varied)
        assert space.complete(proposal.params) == proposal.params
    assert len({proposal.params[varied[0]] for proposal in proposals}) >= (3 if kind == "grid" else 6)


@pytest.mark.parametrize("name", SPACES)
@pytest.mark.parametrize("kind", USABLE)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_restart_proposes_the_same_points_together(name: str, kind: str, seed: int) -> None:
    history = History(SPACES[name], kind, seed, size=4, varied=VARIED[name])
    try:
        for step in range(90):
            history.step()
            if step % 7 == 0:
                assert history.proposed(history.rebuilt()) == history.proposed(history.sampler)
    except Exhausted:
        assert kind == "grid"
    assert len(history.rows) > 30


@pytest.mark.parametrize("kind", USABLE)
def test_one_point_or_nothing_to_vary_is_proposed_one_by_one(kind: str) -> None:
    sampler = trained(FLAT, kind, 20)
    assert sampler.propose_together(20, 1, ["rate"]) == [sampler.propose(20)]
    together = sampler.propose_together(20, 3, [])
    assert sampler.propose_together(20, 3, ["epochs"]) == together  # it is fixed
    for number in range(20, 23):
        assert sampler.propose(number) == together[number - 20]
        proposal = together[number - 20]
        sampler.observe(Observation(number, "running", proposal.params, None, {}, proposal.notes))
    assert len(set(texts(together))) == 3


@pytest.mark.parametrize("kind", USABLE)
def test_a_parent_varies_only_with_all_that_depends_on_it(kind: str) -> None:
    sampler = trained(BRANCHED, kind, 30)
    held = sampler.propose_together(30, 6, ["layers", "l1"])  # units_2 and nesterov are not varied
    assert len({proposal.params["layers"] for proposal in held}) == 1
    free = sampler.propose_together(30, 12, ["layers", "units_2", "nesterov", "l1"])
    assert len({proposal.params["layers"] for proposal in free}) > 1
    assert len({proposal.params["optimizer"] for proposal in free}) == 1
    assert len({proposal.params.get("momentum") for proposal in free}) == 1
    assert all(("units_2" in proposal.params) == (proposal.params["layers"] > 1) for proposal in free)


@pytest.mark.parametrize("kind", USABLE)
def test_fewer_points_come_back_where_there_are_no_more(kind: str) -> None:
    space = Space({"width": Int(1, 2), "rate": Choice([0.1, 0.2, 0.3]), "size": Fixed(3)})
    seen: Counter[str] = Counter()
    sampler = Sampler(space, kind, 0, "minimize")
    while len(seen) < 6:
        proposals = sampler.propose_together(len(seen), 8, ["rate"])
        assert 1 <= len(proposals) <= 3
        for proposal in proposals:
            sampler.observe(Observation(len(seen), "complete", proposal.params, float(len(seen)), {}, proposal.notes))
            seen[json.dumps(proposal.params)] += 1
    assert set(seen.values()) == {1}
    if kind == "grid":
        with pytest.raises(Exhausted):
            sampler.propose_together(6, 8, ["rate"])
    else:
        assert len(sampler.propose_together(6, 8, ["rate"])) == 1  # again, rather than nothing


def test_a_grid_proposes_each_of_its_points_once() -> None:
    space = Space({"units": Int(1, 3), "rate": Float(0, 1), "l2": Lambda(), "kind": Choice(["a", "b"])})
    sampler = Sampler(space, "grid", 4, "minimize")
    points: list[str] = []
    structures = []
    while len(points) < 3 * 2 * 5 * 5:
        proposals = sampler.propose_together(len(points), 8, ["rate", "l2"])
        structures.append(len({(p.params["units"], p.params["kind"]) for p in proposals}))
        for proposal in proposals:
            sampler.observe(Observation(len(points), "running", proposal.params))
            points += texts([proposal])
    assert len(points) == len(set(points))
    with pytest.raises(Exhausted):
        sampler.propose_together(len(points), 8, ["rate", "l2"])
    assert set(structures) == {1}


@pytest.mark.parametrize("kind", ["tpe", "random", "qmc", "gp"])
def test_a_lambda_is_zero_in_its_share_of_variations(kind: str) -> None:
    space = Space({"l2": Lambda(1e-6, 1.0, zero=0.3), "x": Float(0, 1), "width": Int(1, 64)})
    sampler = Sampler(space, kind, 0, "minimize")
    values = []
    for number in range(0, 320, 8):  # nothing is observed: what comes first, before anything is known
        values += [proposal.params["l2"] for proposal in sampler.propose_together(number, 8, ["l2", "x"])]
    assert 0.23 < values.count(0.0) / 320 < 0.37


@pytest.mark.parametrize("kind", ["qmc", "gp"])
def test_the_first_structures_and_variations_are_spread_evenly(kind: str) -> None:
    space = Space({"width": Int(1, 16), "rate": Float(0, 1)})
    sampler = Sampler(space, kind, 3, "minimize")
    cohorts = [sampler.propose_together(8 * k, 8, ["rate"]) for k in range(16)]
    widths = [cohort[0].params["width"] for cohort in cohorts]
    assert sorted(widths) == list(range(1, 17))
    for cohort in cohorts:
        assert sorted(int(proposal.params["rate"] * 8) for proposal in cohort) == list(range(8))


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_what_was_learned_decides_about_structures_and_variations(kind: str) -> None:
    space = Space({"width": Int(1, 100), "rate": Float(0, 1), "other": Float(0, 1)})
    errors = []
    for seed in range(3):
        sampler = Sampler(space, kind, seed, "maximize")
        for number in range(60):
            params = random_point(space, number + 100 * seed)
            value = -((params["width"] / 100 - 0.7) ** 2) - (params["rate"] - 0.2) ** 2
            sampler.observe(Observation(number, "complete", params, value))
        proposals = sampler.propose_together(60, 8, ["rate", "other"])
        assert abs(proposals[0].params["width"] - 70) < 35
        errors += [abs(proposal.params["rate"] - 0.2) for proposal in proposals]
    assert median(errors) < 0.15  # drawn anywhere it would be 0.33


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_structures_keep_changing_while_variations_of_the_best_one_fill_the_ranks(kind: str) -> None:
    space = Space({"width": Int(1, 100), "rate": Float(0, 1), "other": Float(0, 1)})
    sampler = Sampler(space, kind, 0, "minimize")
    structures = set()
    for number in range(0, 240, 8):
        for k, proposal in enumerate(sampler.propose_together(number, 8, ["rate", "other"])):
            structures.add(proposal.params["width"])
            value = abs(proposal.params["width"] - 30) / 100 + abs(proposal.params["rate"] - 0.5)
            sampler.observe(Observation(number + k, "complete", proposal.params, value, {}, proposal.notes))
    assert len(structures) >= 10


@pytest.mark.parametrize("kind", ["tpe", "gp"])
def test_a_space_of_few_structures_is_learned_about_too(kind: str) -> None:
    space = Space({"optimizer": Choice(["adam", "sgd"]), "rate": Float(0, 1), "other": Float(0, 1)})
    sampler = Sampler(space, kind, 0, "minimize")
    errors = []
    for number in range(0, 160, 8):
        for k, proposal in enumerate(sampler.propose_together(number, 8, ["rate", "other"])):
            errors.append(abs(proposal.params["rate"] - 0.7))
            sampler.observe(Observation(number + k, "complete", proposal.params, errors[-1], {}, proposal.notes))
    assert median(errors[-40:]) < median(errors[:40]) / 2


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_a_gaussian_process_learns_from_the_last_finite_value_of_a_pruned_trial(direction: str) -> None:
    space = Space({"x": Float(0, 1), "y": Float(0, 1)})
    sampler = Sampler(space, "gp", 0, direction)
    sign = 1 if direction == "minimize" else -1
    for number in range(40):
        params = random_point(space, number)
        distance = sign * (params["x"] - 0.8) ** 2
        curve = {1: -99.0 * sign, 2: distance, 3: math.nan}
        pruned = number % 4 > 0
        told = Observation(number, "pruned" if pruned else "complete", params, None if pruned else distance, curve)
        sampler.observe(told)
    assert abs(sampler.propose(40).params["x"] - 0.8) < 0.2


@pytest.mark.parametrize("kind", USABLE)
def test_what_is_not_finite_or_failed_disturbs_nothing(kind: str) -> None:
    sampler = Sampler(FLAT, kind, 0, "minimize")
    values = [math.inf, -math.inf, math.nan, 1e308, -1e308, 1.0, None]
    for number in range(28):
        params, value = random_point(FLAT, number), values[number % 7]
        curve = {1: math.nan, 2: -math.inf} if number % 2 else {}
        state: Any = "complete" if number < 21 else "pruned"
        sampler.observe(Observation(number, state, params, value if state == "complete" else None, curve))
    sampler.observe(Observation(28, "failed", {}))
    for proposal in [*sampler.propose_together(29, 8, VARIED["flat"]), sampler.propose(29)]:
        FLAT.validate(proposal.params)


def test_a_failing_region_is_left() -> None:
    space = Space({"rate": Float(0, 1), "width": Int(1, 100)})
    sampler = Sampler(space, "gp", 0, "minimize")
    failed = 0
    for number in range(60):
        proposal = sampler.propose(number)
        rate = proposal.params["rate"]
        failed += number >= 20 and rate > 0.5  # as learning rates do: the better the larger, until it diverges
        state: Any = "failed" if rate > 0.5 else "complete"
        sampler.observe(Observation(number, state, proposal.params, -rate if rate <= 0.5 else None, {}, proposal.notes))
    assert failed < 16  # of 40; half the space fails


def test_running_trials_are_not_proposed_again() -> None:
    sampler = trained(mlp(), "gp", 40)
    first = sampler.propose_together(40, 8, LIFTABLE)
    for number, proposal in enumerate(first, 40):
        sampler.observe(Observation(number, "running", proposal.params, None, {}, proposal.notes))
    second = sampler.propose_together(48, 8, LIFTABLE)
    assert not set(texts(first)) & set(texts(second))


def test_what_is_asked_for_wrongly_is_named() -> None:
    sampler = Sampler(FLAT, "random", 0, "minimize")
    with pytest.raises(InvalidInput, match=r"no parameter 'ratee'; it has units, depth"):
        sampler.propose_together(0, 2, ["rate", "ratee"])
    with pytest.raises(InvalidInput, match="0 points cannot be proposed together; expected at least 1"):
        sampler.propose_together(0, 0, ["rate"])
