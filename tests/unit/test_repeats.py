"""What the repeats of a configuration say together: pure functions, and a study that is run by chance and rebuilt."""

from __future__ import annotations

import math
import random
import statistics
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from db.tables import Study
from tuner.active_study import ActiveStudy
from tuner.definition import parse
from tuner.errors import InvalidStudy
from tuner.repeats import Configurations, estimate, mean_curve, numbers_of, state_of
from tuner.tried import Attempt, Point

STATES = ("queued", "running", "complete", "pruned", "failed", "cancelled")
NUMBERS = st.floats(-1e6, 1e6)
FORM: dict[str, Any] = {
    "name": "study",
    "loop": "tests.loops:seeded",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}, "y": {"type": "choice", "options": ["a", "b"]}},
    "objective": "val_loss",
    "epochs": 9,
}


@given(st.lists(NUMBERS, min_size=2, max_size=20))
def test_mean_and_standard_error(values: list[float]) -> None:
    found = estimate(values)
    assert found.mean == pytest.approx(statistics.fmean(values), abs=1e-6)
    assert found.standard_error == pytest.approx(statistics.stdev(values) / math.sqrt(len(values)), abs=1e-6)


@given(NUMBERS | st.just(math.inf))
def test_a_single_value_is_its_own_mean_to_the_bit(value: float) -> None:
    assert (estimate([value]).mean, estimate([value]).standard_error) == (value, None)


@given(st.lists(st.sampled_from(STATES), min_size=1, max_size=5), st.integers(0, 2), st.randoms())
def test_the_state_of_a_configuration(states: list[str], missing: int, draw: random.Random) -> None:
    repeats = len(states) + missing
    found = state_of(states, repeats)
    shuffled = draw.sample(states, len(states))
    assert state_of(shuffled, repeats) == found, "the order of the repeats matters"
    unfinished = missing or {"queued", "running"} & set(states)
    if unfinished:
        assert found == "running"
    else:
        assert (found == "complete") == (set(states) == {"complete"})
        assert (found == "failed") == bool({"failed", "cancelled"} & set(states))


@given(st.lists(st.dictionaries(st.integers(1, 6), NUMBERS, max_size=6), max_size=4), st.integers(1, 4))
def test_a_mean_curve_has_the_epochs_that_enough_repeats_reached(curves: list[dict[int, float]], enough: int) -> None:
    found = mean_curve(curves, enough)
    assert list(found) == sorted(found)
    for epoch in range(1, 7):
        # Of two equals the one that ended first is named, so only the values are compared.
    values = [study.best and study.best[1] for study in (again, lived)]
    assert values[0] == values[1]
    for number in lived.points:
        assert again.configurations.known(number) == lived.configurations.known(number) or number in lived.running
    begun = {number: proposal.params for number, proposal in lived.proposed if number % repeats}
    for number, attempt in list(lived.running.items()):
        decided = (study.decide(number, attempt.epoch) for study in (lived, again))
        assert next(decided) == next(decided)
    again.queue.clear()
    for number in again.waiting(0, time.monotonic()):
        if number in begun:
            assert again.proposal(number).params == begun[number], "a repeat that had no row became another point"
    groups: dict[int, set[float]] = {}
    for number, point in lived.points.items():
        groups.setdefault(number // repeats, set()).add(point.params["x"])
    assert all(len(values) == 1 for values in groups.values()), "repeats differ in more than their seed"
    assert len(lived.points) + len(lived.proposed) <= 8 * repeats


def test_a_configuration_is_the_best_only_once_its_repeats_are_all_complete() -> None:
    study = Chance(random.Random(0), repeats=3, trials=6, sampler="random").study
    for number in (0, 1, 2, 3, 4, 5):
        assert study.waiting(0, time.monotonic()) == (number,)
        study.start(Attempt(number, number, 1))
    for number, value in {0: 0.125, 1: 0.75, 3: 0.375, 4: 0.5, 5: 0.625}.items():
        study.move(number, "complete", value)
    assert study.best == (3, 0.5), "the best repeat of the only configuration that is complete"
    study.move(2, "complete", 0.25)
    assert study.best == (0, 0.375)


def test_the_repeats_of_a_cohort_are_given_to_one_worker() -> None:
    form = {**FORM, "loop": None, "data": "m:load", "space": {"family": "mlp"}, "sampler": "random"}
    definition = parse({**form, "trials": 20, "repeats": 5})
    assert definition.together(()) == 5
    row = Study(id=1, name="study", state="active", definition=definition.to_json(), checked={})
    study = ActiveStudy(row, 1, [])
    assert study.waiting(0, time.monotonic()) == (0, 1, 2, 3, 4)
    assert len({str(study.proposal(number).params) for number in range(5)}) == 1
    wide = parse({**form, "trials": 399, "repeats": 3})
    study = ActiveStudy(Study(id=1, name="study", state="active", definition=wide.to_json(), checked={}), 1, [])
    assert study.waiting(0, time.monotonic()) == tuple(range(15)), "five whole configurations of sixteen trials"
    structures = {(study.proposal(n).params["depth"], study.proposal(n).params["width"]) for n in range(15)}
    assert len(structures) == 1


def test_a_rule_compares_configurations_not_repeats_with_each_other() -> None:
    """One good configuration of four whose repeats scatter: trial by trial, not all of its repeats would go on."""
    study = Chance(random.Random(0), repeats=4, trials=16, sampler="random", pruner="asha", grace=2, eta=4).study
    for number in range(16):
        study.waiting(0, time.monotonic())
        study.start(Attempt(number, number, 1))
    for number in range(16):
        study.report(number, 2, (0.1 if number < 4 else 0.25) + number % 4 * 0.1, 0.0)
    assert [study.decide(number, 2).action for number in range(8)] == ["continue"] * 4 + ["stop"] * 4
    assert study.decide(5, 2).rivals[0][0] == 0
    assert study.decide(5, 2).rivals[0][1] == pytest.approx(0.25)
    assert "means over the repeats" in study.decide(5, 2).reason
    study.move(1, "failed")
    told = study.decide(0, 2)
    assert told.action == "stop"
    assert told.reason == "Stopped at epoch 2: trial 1, a repeat of the same configuration, was failed."


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"trials": 50, "repeats": 3}, ["`trials` is 50", "`repeats` is 3", "48 or 51"]),
        ({"trials": 2, "repeats": 3}, ["such as 3."]),
        ({"trials": 6, "repeats": 3, "enqueue": [{"x": 0.1, "y": "a"}] * 3}, ["`enqueue` has 3", "3 trials for each"]),
        ({"repeats": 0}, ["`repeats`", "0"]),
        ({"executions_per_trial": 3}, ["`repeats`"]),
    ],
)
def test_repeats_that_cannot_be_meant(changes: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidStudy) as refused:
        parse({**FORM, **changes})
    [sentence] = refused.value.problems
    assert all(word in sentence for word in words), sentence
