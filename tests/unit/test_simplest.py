"""Which of several models is the simplest that is as good as the best, and what a person is told of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from db.tables import Artifact, Trial
from tuner.coordination.housekeeping import smaller
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.promoting.simplest import Simplest, judged, judged_by_folds

BEST = [0.2, 0.4, 0.1, 0.3]


def study(direction: str = "minimize") -> StudyDefinition:
    return StudyDefinition(name="digits", objective="val_loss", direction=direction)  # type: ignore[arg-type]


def mean(values: Sequence[float]) -> float:
    return math.fsum(values) / max(1, len(values))


def found(*others: Sequence[float], direction: str = "minimize") -> Simplest:
    """Trial 0 with 8,000 weights and the others with half as many each time, by their scores on groups of rows."""
    models = [
        (Trial(number=number, params={}, value=mean(scores), weights=8000 >> number), Artifact())
        for number, scores in enumerate([BEST, *others])
    ]
    return judged(study(direction), models, [{"loss": scores} for scores in (BEST, *others)])


def test_a_simpler_model_is_as_good_within_a_standard_error_of_the_difference() -> None:
    told = found([0.21, 0.42, 0.08, 0.31])
    _, other = told.candidates
    assert other.worse_by == pytest.approx(0.005)
    assert other.standard_error == pytest.approx(math.sqrt((0.005**2 + 0.015**2 + 0.025**2 + 0.005**2) / 3 / 4))
    assert (told.best, told.trial, other.as_good) == (0, 1, True)
    assert told.sentence == (
        "Trial 1 has 4,000 weights where trial 0, the best, has 8,000, and its val_loss is worse by 0.005 ± 0.0087 on "
        "the validation rows: as good, as far as these can tell."
    )


def test_configurations_are_compared_fold_by_fold() -> None:
    """Each is better on one fold, and their spreads are large: what counts is how the differences spread."""
    definition = replace(study(), data={"folds": 4}, repeats=4)
    models = [
        (Trial(number=4 * place + 2, params={}, value=min(values), weights=8000 >> place), values)
        for place, values in enumerate([BEST, [0.21, 0.42, 0.08, 0.31], [0.21, 0.41, 0.11, 0.31]])
    ]
    told = judged_by_folds(definition, models)
    best, first, second = told.candidates
    assert (best.value, first.value, second.value) == pytest.approx((0.25, 0.255, 0.26))
    assert first.standard_error == pytest.approx(math.sqrt((0.005**2 + 0.015**2 + 0.025**2 + 0.005**2) / 3 / 4))
    assert (told.best, told.trial, second.as_good) == (2, 6, False)
    assert told.sentence.endswith("is worse by 0.005 ± 0.0087 over the 4 folds: as good, as far as these can tell.")
    larger = judged_by_folds(replace(definition, direction="maximize"), models)
    assert larger.candidates[1].worse_by == pytest.approx(-0.005)


def test_a_difference_that_every_group_of_rows_shows_counts_although_the_scores_spread_more() -> None:
    told = found([0.21, 0.41, 0.111, 0.31])
    assert told.trial == 0 and not told.candidates[1].as_good
    assert told.sentence == (
        "Trial 0, the best, has 8,000 weights, and no smaller model is as good on the validation rows."
    )


def test_the_smallest_of_those_that_are_as_good_is_taken_over_one_between_that_is_not() -> None:
    told = found([0.3, 0.5, 0.21, 0.4], [0.19, 0.39, 0.12, 0.29], [0.9, 0.8, 0.9, 0.8])
    assert [item.as_good for item in told.candidates] == [True, False, True, False]
    assert told.trial == 2
    assert "better by 0.0025 ± 0.0075" in told.sentence


def test_a_tie_is_called_one() -> None:
    assert "its val_loss is the same on the validation rows" in found([0.4, 0.2, 0.3, 0.1]).sentence


def test_a_model_is_a_candidate_where_it_is_smaller_than_all_better_ones() -> None:
    ranked = [Trial(number=number, weights=weights) for number, weights in enumerate([302, None, 277, 290, 64, 60])]
    assert [trial.number for trial in smaller(ranked)] == [0, 2, 4, 5]


def test_more_is_better_where_the_study_maximizes() -> None:
    worse = [0.1, 0.3, 0.0, 0.19]
    assert found(worse).trial == 1
    assert found(worse, direction="maximize").trial == 0


def test_a_best_model_that_is_the_only_one_needs_no_scores() -> None:
    models = [(Trial(number=3, params={}, value=0.25, weights=8), Artifact())]
    assert (
        judged(study(), models, [{}]).sentence
        == "Trial 3, the best, has 8 weights, and no smaller model was kept (a pruned trial has none)."
    )


@pytest.mark.parametrize("scores", [[], [0.2], [0.2, math.nan, 0.1, 0.3]])
def test_scores_that_do_not_tell_are_refused(scores: list[float]) -> None:
    with pytest.raises(InvalidInput, match=r"trial 1 has no finite 'loss' on two groups"):
        found(scores)
