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
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.repeats import Configurations, estimate, mean_curve, numbers_of, over_repeats, state_of
from tuner.coordination.tried import Attempt, Point
from tuner.definitions.definition import parse
from tuner.errors import InvalidStudy

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


def test_repeats_on_the_same_fold_count_once() -> None:
    """As often as a fold is asked, its rows stay the same."""
    once = over_repeats([0.1, 0.4, 0.25], 3)
    assert once == estimate([0.1, 0.4, 0.25])
    thrice = over_repeats([0.1, 0.4, 0.25] * 3, 3)
    assert (thrice.mean, thrice.standard_error) == pytest.approx((once.mean, once.standard_error))
    assert over_repeats([0.1, 0.4, 0.25] * 3, 1) == estimate([0.1, 0.4, 0.25] * 3)
    assert over_repeats([0.0, 2.0, 1.0, 3.0], 2) == estimate([0.5, 2.5])


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
        values = [curve[epoch] for curve in curves if epoch in curve]
        assert (epoch in found) == (len(values) >= enough)
        if epoch in found:
            assert found[epoch] == pytest.approx(statistics.fmean(values), abs=1e-6)


@given(st.integers(0, 1000), st.integers(1, 9))
def test_numbers_of_trials_are_shared_out_without_a_gap(configuration: int, repeats: int) -> None:
    numbers = numbers_of(configuration, repeats)
    assert len(numbers) == repeats
    assert numbers_of(configuration + 1, repeats)[0] == numbers[-1] + 1
    known = Configurations({number: Point(number, {}, {}) for number in numbers}, repeats)
    assert {known.first(number) for number in numbers} == {numbers[0]}
    assert [point.number for point in known.repeats_of(numbers[-1])] == list(numbers)


class Chance:
    """A study whose trials start, report and end by chance, as a coordinator would tell it."""

    def __init__(self, draw: random.Random, **changes: Any) -> None:
        self.draw, self.definition = draw, parse({**FORM, **changes})
        self.study = self.rebuilt([])

    def rebuilt(self, points: list[Point]) -> ActiveStudy:
        """What a coordinator makes of rows: attempts that were running are queued again."""
        row = Study(
            id=1, name="study", state="active", definition=self.definition.to_json(), checked={}, active_seconds=0.0
        )
        queued = [replace(point, state="queued") if point.state == "running" else point for point in points]
        return ActiveStudy(row, 1, [replace(point, curve=dict(point.curve), failures=[]) for point in queued])

    def step(self) -> None:
        study = self.study
        if len(study.running) < 4 and (group := study.waiting(0, time.monotonic())):
            for number in group:
                study.start(
                    Attempt(number, number, 1, len(study.points[number].curve) if number in study.points else 0)
                )
            return
        if not study.running:
            return
        number = self.draw.choice(sorted(study.running))
        attempt, point = study.running[number], study.points[number]
        if self.draw.random() < 0.6 and attempt.epoch < self.definition.epochs:
            attempt.epoch += 1
            study.report(number, attempt.epoch, self.draw.random() / attempt.epoch, 0.0)
            if study.rule.due(study.configurations.first(number), attempt.epoch):
                if study.decide(number, attempt.epoch).action == "stop":
                    study.move(number, "pruned", min(point.curve.values()))
        elif point.curve:
            failed = self.draw.random() < 0.1
            study.move(number, "failed" if failed else "complete", None if failed else min(point.curve.values()))


@settings(deadline=None, max_examples=30)
@given(st.randoms(use_true_random=False), st.integers(1, 4), st.sampled_from(["random", "gp", "qmc"]))
def test_a_study_rebuilt_from_its_rows_goes_on_as_the_one_that_lived(
    draw: random.Random, repeats: int, sampler: str
) -> None:
    chance = Chance(draw, repeats=repeats, trials=8 * repeats, sampler=sampler)
    for _ in range(draw.randrange(10, 200)):
        chance.step()
    lived = chance.study
    again = chance.rebuilt(list(lived.points.values()))
    # Of two equals the one that ended first is named, so only the values are compared.
    assert (again.best and again.best[1]) == (lived.best and lived.best[1])
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
    assert definition.together({}) == 5
    row = Study(id=1, name="study", state="active", definition=definition.to_json(), checked={}, active_seconds=0.0)
    study = ActiveStudy(row, 1, [])
    assert study.waiting(0, time.monotonic()) == (0, 1, 2, 3, 4)
    assert len({str(study.proposal(number).params) for number in range(5)}) == 1
    wide = parse({**form, "trials": 399, "repeats": 3})
    study = ActiveStudy(
        Study(id=1, name="study", state="active", definition=wide.to_json(), checked={}, active_seconds=0.0), 1, []
    )
    assert study.waiting(0, time.monotonic()) == tuple(range(15)), (
        "five whole configurations of the sixteen trials there is room for"
    )
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
