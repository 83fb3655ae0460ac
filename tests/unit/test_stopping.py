"""The stopping rules: held against Optuna's pruners on random histories, and explained in the open."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tuner.errors import InvalidInput
from tuner.pruners.rungs import FEW, Rung
from tuner.pruners.stopping import RULES, SHOWN_RIVALS, Hyperband, Rule, rule

Direction = Literal["minimize", "maximize"]
DIRECTIONS: tuple[Direction, Direction] = ("minimize", "maximize")
Verdicts = list[tuple[int, int, bool]]


def history(seed: int, trials: int, epochs: int) -> Iterator[tuple[int, int, float]]:
    """Epochs of parallel trials in random order: (trial, epoch, objective). Ties are frequent."""
    draw = random.Random(seed)
    at, nearly = dict.fromkeys(range(trials), 0), draw.random() < 0.5
    while at:
        number = draw.choice(list(at)[: draw.randint(1, 6)])
        at[number] += 1
        value = draw.gauss(0, 1) - 0.1 * at[number]
        yield number, at[number], round(value, 1) if nearly else value
        if at[number] == epochs:
            del at[number]


def ours(judge: Rule, events: Iterator[tuple[int, int, float]], pure: bool) -> Verdicts:
    """(trial, epoch, stopped) of every decision that was due."""
    curves: dict[int, dict[int, float]] = {}
    stopped: set[int] = set()
    verdicts = []
    for number, epoch, value in events:
        if number in stopped:
            continue
        curves.setdefault(number, {})[epoch] = value
        judge.observe(number, epoch, value)
        if judge.due(number, epoch):
            decision = judge.decide(number, epoch, curves[number], curves if pure else None)
            verdicts.append((number, epoch, decision.action == "stop"))
            if decision.action == "stop":
                stopped.add(number)
    return verdicts


def optunas(pruner: Any, direction: Direction, events: Iterator[tuple[int, int, float]], due: Rule) -> Verdicts:
    """The same from one of Optuna's pruners; epochs that our rule does not judge are reported, not judged."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, pruner=pruner)
    trials: dict[int, Any] = {}
    stopped: set[int] = set()
    verdicts = []
    for number, epoch, value in events:
        if number in stopped:
            continue
        while number not in trials:
            trials[len(trials)] = study.ask()
        trials[number].report(value, epoch)
        if due.due(number, epoch):
            verdicts.append((number, epoch, trials[number].should_prune()))
            if verdicts[-1][2]:
                stopped.add(number)
    return verdicts


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("pure", [True, False])
@pytest.mark.parametrize(("grace", "eta"), [(2, 4), (2, 2), (3, 3), (5, 2)])
def test_asha_equals_optunas_successive_halving(direction: Direction, pure: bool, grace: int, eta: int) -> None:
    import optuna

    stops = 0
    for seed in range(12):
        judge = rule("asha", epochs=20, direction=direction, grace=grace, eta=eta)
        pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=grace, reduction_factor=eta)
        verdicts = ours(judge, history(seed, 25, 20), pure)
        assert verdicts == optunas(pruner, direction, history(seed, 25, 20), judge)
        stops += sum(stopped for _, _, stopped in verdicts)
    assert stops > 20


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("epochs", [16, 27, 32])
def test_hyperband_equals_optunas_with_the_same_brackets(direction: Direction, epochs: int) -> None:
    import optuna

    class SameBrackets(optuna.pruners.HyperbandPruner):
        def _get_bracket_id(self, study: Any, trial: Any) -> int:
            return judge.bracket(trial.number)

    for seed in range(10):
        judge = rule("hyperband", epochs=epochs, direction=direction, seed=seed, eta=2)
        pruner = SameBrackets(min_resource=2, max_resource=epochs, reduction_factor=2)
        verdicts = ours(judge, history(seed, 30, epochs), pure=bool(seed % 2))
        assert verdicts == optunas(pruner, direction, history(seed, 30, epochs), judge)


@pytest.mark.parametrize(("epochs", "grace", "eta"), [(81, 3, 3), (32, 2, 4), (100, 2, 4), (9, 3, 2), (64, 2, 2)])
def test_hyperband_has_optunas_brackets_and_shares(epochs: int, grace: int, eta: int) -> None:
    import optuna

    pruner = optuna.pruners.HyperbandPruner(min_resource=grace, max_resource=epochs, reduction_factor=eta)
    pruner._try_initialization(None)
    shares = [budget / pruner._total_trial_allocation_budget for budget in pruner._trial_allocation_budgets]
    judge = rule("hyperband", epochs=epochs, direction="minimize", grace=grace, eta=eta, seed=7)
    counts = Counter(judge.bracket(number) for number in range(1000))
    assert [counts[i] / 1000 for i in range(len(shares))] == pytest.approx(shares, abs=0.01)
    first_rungs = {judge.bracket(number): judge.next_rung(number, 0) for number in range(1000)}
    assert first_rungs == {s: min(epochs, grace * eta**s) for s in range(len(shares))}


def test_hyperbands_brackets_follow_from_the_number_and_the_seed_alone() -> None:
    one, same, other = (rule("hyperband", epochs=64, direction="minimize", seed=seed) for seed in (1, 1, 2))
    brackets = [[judge.bracket(number) for number in range(100)] for judge in (one, same, other)]
    assert brackets[0] == brackets[1] != brackets[2]
    assert isinstance(one, Hyperband)
    assert len(set(brackets[0][:10])) > 1  # already a short study uses several


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["median", "percentile"])
@given(seed=st.integers(0, 10**6), percentile=st.floats(0, 100), warmup=st.integers(1, 8), grace=st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_median_and_percentile_equal_optunas_on_complete_rivals(
    direction: Direction, name: str, seed: int, percentile: float, warmup: int, grace: int
) -> None:
    import optuna

    draw = random.Random(seed)
    epochs, count = 8, draw.randint(1, 15)
    decimals = draw.choice([0, 1, 12])
    curves = {
        number: {epoch: round(draw.gauss(0, 2), decimals) for epoch in range(1, draw.randint(1, epochs) + 1)}
        for number in range(count + 1)
    }
    judge = rule(name, epochs=epochs, direction=direction, grace=grace, percentile=percentile, warmup_trials=warmup)
    arguments = {"n_startup_trials": 0, "n_warmup_steps": grace, "n_min_trials": warmup}
    pruner = (
        optuna.pruners.MedianPruner(**arguments)
        if name == "median"
        else optuna.pruners.PercentilePruner(percentile, **arguments)
    )
    study = optuna_study(direction, pruner, curves)
    trial = study.ask()
    for epoch, value in curves[count].items():
        trial.report(value, epoch)
        if judge.due(count, epoch):
            decision = judge.decide(count, epoch, curves[count], curves)
            assert (decision.action == "stop") == trial.should_prune()


def optuna_study(direction: Direction, pruner: Any, curves: dict[int, dict[int, float]]) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction=direction, pruner=pruner)
    for number in range(len(curves) - 1):
        study.add_trial(optuna.trial.create_trial(value=0.0, intermediate_values=curves[number]))
    return study


@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
def test_what_was_observed_decides_like_what_is_given(name: str) -> None:
    for seed in range(20):
        judges = [rule(name, epochs=12, direction="maximize", seed=seed, eta=2, warmup_trials=3) for _ in range(2)]
        verdicts = [ours(judge, history(seed, 15, 12), pure) for judge, pure in zip(judges, (True, False), strict=True)]
        assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("name", [name for name in RULES if name != "none"])
def test_the_order_in_which_rivals_were_told_and_repeats_change_nothing(name: str) -> None:
    draw = random.Random(3)
    told = [(number, epoch, draw.random()) for number in range(40) for epoch in range(1, 13)]
    curve = dict.fromkeys(range(1, 13), 0.5)
    decisions = []
    for shuffle in range(5):
        judge = rule(name, epochs=12, direction="minimize", eta=2)
        order = told + draw.sample(told, 100) if shuffle else told
        for number, epoch, value in draw.sample(order, len(order)):
            judge.observe(number, epoch, value)
        decisions.append([judge.decide(99, epoch, curve) for epoch in range(1, 13)])
    assert all(decision == decisions[0] for decision in decisions)


def test_a_later_report_of_the_same_epoch_replaces_the_earlier_one() -> None:
    judge = rule("asha", epochs=10, direction="minimize")
    for value in (0.1, 0.9):  # the trial was resumed from a checkpoint and passed the rung again
        judge.observe(0, 2, value)
    assert judge.decide(1, 2, {2: 0.5}).action == "continue"
    judge.observe(0, 2, math.nan)
    assert judge.decide(1, 2, {2: 5.0}).rivals == ()


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("grace", [1, 2, 3])
def test_neither_the_first_nor_the_last_epoch_is_judged(name: str, grace: int) -> None:
    judge = rule(name, epochs=8, direction="minimize", grace=grace, eta=2)
    for number in range(30):
        rungs = [0]
        while rungs[-1] < 8:
            rungs.append(judge.next_rung(number, rungs[-1]))
        assert rungs[-1] == 8
        assert all(max(2, grace) <= epoch for epoch in rungs[1:])
        assert [epoch for epoch in range(10) if judge.due(number, epoch)] == rungs[1:-1]
    for number in range(10):
        for epoch in (1, 8):
            judge.observe(number, epoch, 0.0)
    for epoch in (1, 8):
        assert judge.decide(99, epoch, {epoch: 100.0}).action == "continue"


@pytest.mark.parametrize("name", ["asha", "hyperband", "median", "percentile"])
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_stops_and_is_nobodys_rival(name: str, direction: Direction, value: float) -> None:
    judge = rule(name, epochs=100, direction=direction, warmup_trials=1)
    number = next(number for number in range(100) if judge.due(number, 2))
    others = [other for other in range(100) if other != number and judge.bracket(other) == judge.bracket(number)][:10]
    for other in others:
        judge.observe(other, 2, value)
    alone = judge.decide(number, 2, {1: 1.0, 2: 0.5})
    assert (alone.action, alone.rivals) == ("continue", ())
    judge.observe(others[0], 2, 0.4)
    diverged = judge.decide(number, 2, {1: 1.0, 2: value})
    assert (diverged.action, diverged.value, diverged.threshold) == ("stop", None, None)
    assert "cannot become the best" in diverged.reason
    assert judge.decide(number, 2, {1: 1.0}).action == "stop"  # the epoch's objective is missing


def test_a_decision_explains_itself() -> None:
    judge = rule("asha", epochs=30, direction="minimize", eta=4)
    for number, value in enumerate([0.5, 0.2, 0.9, 0.4, 0.3, 0.8, 0.7]):
        judge.observe(number, 2, value)
    stop = judge.decide(17, 2, {1: 1.0, 2: 0.35})
    assert (stop.action, stop.rule, stop.epoch, stop.value, stop.threshold) == ("stop", "asha", 2, 0.35, 0.3)
    assert stop.rivals[:2] == ((1, 0.2), (4, 0.3))
    assert stop.reason == (
        "Stopped at epoch 2: 0.35 is worse than 0.3, what it takes to be among the 2 best of 8 trials that got there."
    )
    go = judge.decide(17, 2, {1: 1.0, 2: 0.3})
    assert go.action == "continue"
    assert go.reason.startswith("Went on at epoch 2: 0.3 is at least as good as 0.3, ")
    first = judge.decide(17, 8, {8: 0.1})
    assert (first.action, first.threshold) == ("continue", None)
    assert first.reason == "Went on at epoch 8 with 0.1: it is the first trial to get there."


def test_the_percentile_compares_the_best_so_far() -> None:
    judge = rule("median", epochs=30, direction="maximize", warmup_trials=3)
    rivals = {number: {5: value} for number, value in enumerate([0.6, 0.7, 0.8])}
    decision = judge.decide(9, 5, {3: 0.75, 5: 0.1}, rivals)
    assert (decision.action, decision.value, decision.threshold) == ("continue", 0.75, 0.7)
    few = judge.decide(9, 5, {5: 0.1}, {0: {5: 0.6}, 1: {4: 0.6}})
    assert "1 of the 3 other trials that a judgement needs" in few.reason


def test_no_rule_stops_nothing() -> None:
    judge = rule("none", epochs=1, direction="minimize", grace=50)
    assert judge.next_rung(0, 0) == 1
    assert judge.decide(0, 1, {1: math.nan}).action == "continue"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "ahsa"}, ["'ahsa'", "asha, hyperband, median, percentile, none"]),
        ({"grace": 10}, ["10 epochs", "'none'"]),
        ({"grace": 0}, ["0 epochs"]),
        ({"name": "median", "grace": 11}, ["11 epochs"]),
        ({"eta": 1}, ["eta is 1", "2 or more"]),
        ({"name": "percentile", "percentile": 101.0}, ["101", "0 to 100"]),
        ({"name": "median", "warmup_trials": 0}, ["0 trials"]),
    ],
)
def test_numbers_with_which_nothing_could_be_decided_are_refused(arguments: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidInput) as refused:
        rule(**{"name": "asha", "epochs": 10, "direction": "minimize", **arguments})
    assert all(word in str(refused.value) for word in words)


@pytest.mark.parametrize("direction", DIRECTIONS)
@given(steps=st.lists(st.tuples(st.integers(0, 6), st.sampled_from([0.0, -0.0, 1.0, 2.5, math.inf, math.nan]))))
def test_a_rung_is_its_trials_in_order(direction: Direction, steps: list[tuple[int, float]]) -> None:
    rung, expected = Rung(direction), dict[int, float]()
    for number, value in steps:
        rung.set(number, value)
        expected[number] = value
    for but in range(8):
        sign = 1 if direction == "minimize" else -1
        kept = [(n, v) for n, v in expected.items() if math.isfinite(v) and n != but]
        rivals = rung.without(but)
        assert list(rivals) == sorted(kept, key=lambda item: (sign * item[1], item[0]))
        assert len(rivals) == len(kept)
        assert rivals[1:3] == rivals.best(3)[1:]
        with pytest.raises(IndexError):
            rivals[len(kept)]


def test_objectives_that_are_set_together_are_in_order_like_those_set_one_by_one() -> None:
    """A study that is read from its rows sets all of them before anyone looks."""
    draw, together, alone = random.Random(0), Rung("maximize"), Rung("maximize")
    for number in [*range(5 * FEW), *range(FEW)]:
        value = draw.choice([draw.random(), math.inf, 0.5])
        together.set(number, value)
        alone.set(number, value)
        alone.without(number)
    assert list(together.without(7)) == list(alone.without(7))


@pytest.mark.parametrize("name", ["asha", "hyperband", "median"])
def test_a_decision_shows_few_of_ten_thousand_rivals(name: str) -> None:
    judge = rule(name, epochs=100, direction="minimize")
    draw = random.Random(0)
    for number in range(10_000):
        for epoch in (2, 8, 32):
            judge.observe(number, epoch, draw.random())
    assert len(judge.decide(0, 2, {2: 0.5}).rivals) <= SHOWN_RIVALS
