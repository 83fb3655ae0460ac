"""Which trials are audited, what their decisions say, and what is told of pruning."""

from __future__ import annotations

import math

import pytest

from tuner.definitions.definition import StudyDefinition
from tuner.pruners.audit import audited, spared
from tuner.pruners.stopping import rule
from tuner.reporting.audit import judged


@pytest.mark.parametrize("seed", [0, 1, 77, 2**32 - 1])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_any_run_of_trials_has_its_share(seed: int, share: float) -> None:
    for first in (0, 1000, 99_000):
        chosen = sum(audited(seed, number, share) for number in range(first, first + 100))
        assert abs(chosen - 100 * share) <= 3


def test_brackets_of_hyperband_have_their_share() -> None:
    judge = rule("hyperband", epochs=81, direction="minimize", grace=3, eta=3)
    brackets: dict[int, list[bool]] = {}
    for number in range(3000):
        brackets.setdefault(judge.bracket(number), []).append(audited(0, number, 0.2))
    assert len(brackets) == 4
    for chosen in brackets.values():
        assert sum(chosen) / len(chosen) == pytest.approx(0.2, abs=0.02)


def test_a_decision_against_a_trial_is_kept_beside_its_going_on() -> None:
    judge = rule("median", epochs=9, direction="minimize")
    for number in range(1, 6):
        judge.observe(number, 2, 0.1 * number)
    bad, good = judge.decide(9, 2, {2: 0.9}), judge.decide(9, 2, {2: 0.1})
    assert (bad.action, good.action) == ("stop", "continue")
    assert spared(good) == good
    told = spared(bad)
    assert (told.action, told.value, told.threshold, told.rivals) == ("spare", bad.value, bad.threshold, bad.rivals)
    assert told.reason.startswith("Would be stopped at epoch 2: 0.9 is worse than 0.3")
    lost = judge.decide(9, 2, {2: math.nan})
    assert spared(lost) == lost, "what is not finite cannot go on"


def test_what_is_told_of_pruning() -> None:
    study = StudyDefinition(name="fares", audit=0.1)
    assert judged(study, 2, [], 0.1).sentence == "none of those that would have been pruned is complete"
    alone = judged(study, 2, [0.2], None)
    assert (alone.better, alone.best) == (0, 0.2)
    assert alone.sentence.endswith("went on, and no other is complete that they could be compared with")
    right = judged(study, 8, [0.2, 0.15], 0.1)
    assert (right.complete, right.better, right.best) == (2, 0, 0.15)
    assert "none became better than the best of the others (0.15 against 0.1)" in right.sentence
    assert "at most 78% would have" in right.sentence  # .22 to the power of 2 is .05
    wrong = judged(study, 3, [0.2, 0.05, 0.09], 0.1)
    assert (wrong.better, wrong.best) == (2, 0.05)
    assert "2 of them became better" in wrong.sentence and "`grace`" in wrong.sentence
    accuracy = StudyDefinition(name="fares", objective="val_accuracy", direction="maximize", audit=0.1)
    assert judged(accuracy, 2, [0.9, 0.7], 0.8).better == 1
