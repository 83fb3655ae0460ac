"""The score on rows that chose nothing: when it is worse by more than chance, and what a person is told."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from db.tables import Trial
from tuner.coordination.repeats import Estimate
from tuner.definitions.definition import StudyDefinition, parse
from tuner.errors import InvalidStudy
from tuner.reporting.final_score import FinalScore, final_score, ranked, without_test_part

STUDY = StudyDefinition(name="digits", objective="val_accuracy", direction="maximize")
SCORES: dict[str, Any] = {
    "validation": {"accuracy": 0.984},
    "test": {"accuracy": 0.967},
    "standard_errors": {"validation": {"accuracy": 0.0066}, "test": {"accuracy": 0.0094}},
    "rows": {"validation": 360, "test": 360},
}


def told(definition: StudyDefinition = STUDY, value: float | None = 0.984, **changes: Any) -> FinalScore | None:
    trial = Trial(number=7, state="complete", value=value)
    return final_score(definition, trial, 512, {**SCORES, **changes}, None)


def test_both_scores_are_told_with_the_error_of_the_one_to_expect() -> None:
    found = told()
    assert found is not None
    assert (found.trial, found.chosen_by, found.value, found.standard_error) == (7, 0.984, 0.967, 0.0094)
    assert found.flattered is False, "0.017 is less than twice the standard error of the difference, 0.0115"
    assert found.sentence == (
        "val_accuracy is 0.984 on the rows that chose it among 512, and 0.967 ± 0.0094 on 360 rows that had no part in "
        "it: no worse than by chance. Expect the latter."
    )


def test_a_winner_that_the_choice_flattered() -> None:
    found = told(test={"accuracy": 0.9})
    assert found is not None and found.flattered
    assert found.sentence.endswith(
        "0.9 ± 0.0094 on 360 rows that had no part in it: worse by more than chance. Expect the latter."
    )


def test_a_winner_of_several_folds_was_chosen_by_their_mean() -> None:
    trial = Trial(number=7, state="complete", value=0.99)
    definition = replace(STUDY, data={"folds": 5}, repeats=5)
    found = final_score(definition, trial, 12, SCORES, Estimate(0.95, 0.02))
    assert found is not None
    assert (found.chosen_by, found.flattered) == (0.95, False)
    assert found.sentence == (
        "val_accuracy is 0.95 ± 0.02 over 5 folds, which chose it among 12, and 0.967 ± 0.0094 on 360 rows that had no "
        "part in it: no worse than by chance. Expect the latter."
    )
    worse = final_score(definition, trial, 12, {**SCORES, "test": {"accuracy": 0.9}}, Estimate(0.95, 0.02))
    assert worse is not None and worse.flattered, "0.05 is more than twice the standard error of the difference, 0.0221"


def test_what_is_not_known_is_left_out() -> None:
    found = told(standard_errors={}, rows={})
    assert found is not None
    assert (found.flattered, found.standard_error, found.rows) == (None, None, None)
    assert found.sentence.endswith("and 0.967 on the test rows that had no part in it. Expect the latter.")
    assert told(test=None) is told(test={"loss": 1.0}) is told(test={"accuracy": math.nan}) is told(value=None) is None


def parts(low: int, high: int) -> st.SearchStrategy[float]:
    """Numbers whose squares and sums are exact."""
    return st.integers(low, high).map(lambda number: number / 64)


@given(parts(-640, 640), parts(-640, 640), parts(0, 128), parts(0, 128), st.sampled_from(["minimize", "maximize"]))
def test_flattered_is_a_matter_of_direction_and_standard_errors(
    chosen_by: float, value: float, first: float, second: float, direction: Literal["minimize", "maximize"]
) -> None:
    study = replace(STUDY, objective="val_score", direction=direction)
    errors = {"validation": {"score": first}, "test": {"score": second}}
    found = told(study, chosen_by, test={"score": value}, standard_errors=errors)
    mirrored = told(
        replace(study, direction="maximize" if direction == "minimize" else "minimize"),
        -chosen_by,
        test={"score": -value},
        standard_errors=errors,
    )
    assert found is not None and mirrored is not None
    assert found.flattered == mirrored.flattered
    worse = value - chosen_by if direction == "minimize" else chosen_by - value
    assert found.flattered == (worse > 2 * math.sqrt(first**2 + second**2))


def test_how_many_were_compared() -> None:
    assert ranked({"complete": 5, "pruned": 7, "failed": 3, "queued": 1}, 1) == 12
    assert ranked({"complete": 6, "pruned": 3}, 3) == 3
    assert ranked({}, 1) == 0


def test_why_there_is_no_final_score() -> None:
    without = {"data": {"rows": {"train": 9, "validation": 3}}}
    assert without_test_part(STUDY, {"data": {"rows": {"train": 9, "validation": 3, "test": 3}}}) is None
    assert "data.held_back" in str(without_test_part(STUDY, without))
    datasets = {"data": {**without["data"], "batches": {"train": 3, "validation": 1}}}
    assert "a third dataset" in str(without_test_part(STUDY, datasets)), "their rows cannot be told apart"
    folded = str(without_test_part(replace(STUDY, data={"folds": 3}, repeats=3), without))
    assert "data.test" in folded and "held_back" not in folded, "which folds do not allow"
    assert "test_accuracy" in str(without_test_part(replace(STUDY, loop="m:train"), {}))


@pytest.mark.parametrize("objective", ["val_loss", "loss"])
def test_the_metric_of_the_test_part_has_the_objectives_name_without_its_part(objective: str) -> None:
    study = replace(STUDY, objective=objective, direction="minimize")
    found = told(study, 0.5, test={"loss": 0.75})
    assert found is not None and found.value == 0.75


def test_rows_that_are_held_back_are_the_test_part() -> None:
    form = {"name": "digits", "space": {"family": "mlp"}}
    held, usual = (parse({**form, "data": {"function": "m:load", **more}}).data for more in ({"held_back": 0.33}, {}))
    assert held is not None and (held["test"], held["held_back"]) == (None, 0.33)
    assert usual is not None and (usual["test"], usual["held_back"]) == (0.2, None)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"held_back": 0.33, "test": 0.2}, ["`data.held_back`", "`data.test`", "keep one"]),
        ({"held_back": 0.6}, ["`data.held_back`", "0.6", "0.5"]),
        ({"held_back": 0}, ["`data.held_back`", "above 0"]),
        ({"holdout": 0.3}, ["`data.holdout`", "`held_back`"]),
    ],
)
def test_rows_that_cannot_be_held_back(data: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(InvalidStudy) as refused:
        parse({"name": "digits", "space": {"family": "mlp"}, "data": {"function": "m:load", **data}})
    [sentence] = refused.value.problems
    assert all(word in sentence for word in words), sentence
