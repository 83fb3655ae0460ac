"""How many weights a model can do without, by what it scores with ever more of them zero, and what a person is told."""

from __future__ import annotations

import pytest

from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.promoting.regularization import can_be_zero

WHOLE = {"loss": [0.2, 0.4, 0.1, 0.3]}
NOISY = {"loss": [0.21, 0.42, 0.08, 0.31]}  # worse by .005, with an error of .0087
WORSE = {"loss": [0.22, 0.42, 0.11, 0.31]}  # worse by .015, with an error of .0029


def study(objective: str = "val_loss", direction: str = "minimize") -> StudyDefinition:
    return StudyDefinition(name="digits", objective=objective, direction=direction)  # type: ignore[arg-type]


def test_weights_are_zero_until_the_objective_is_worse_by_more_than_its_error() -> None:
    zeroed = [(0.0, WHOLE), (0.5, NOISY), (0.7, WORSE), (0.9, NOISY)]
    share, difference = can_be_zero(study(), 3, zeroed)
    assert share == 0.5  # what comes after one that is worse does not count
    assert difference.mean == pytest.approx(0.005)
    assert difference.standard_error == pytest.approx(0.00866, abs=1e-5)


def test_a_change_that_says_nothing_does_not_count() -> None:
    """The score has an error of .065. A change by .006 on each row is known exactly, and is less than a tenth of it."""
    little, more = ({"loss": [value + change for value in WHOLE["loss"]]} for change in (0.006, 0.007))
    assert can_be_zero(study(), 3, [(0.0, WHOLE), (0.5, little), (0.7, more)])[0] == 0.5


def test_worse_is_what_the_direction_says() -> None:
    accuracy = [(share, {"accuracy": scores["loss"]}) for share, scores in [(0.0, WHOLE), (0.5, WORSE)]]
    share, difference = can_be_zero(study("val_accuracy", "maximize"), 3, accuracy)
    assert share == 0.5
    assert difference.mean == pytest.approx(-0.015)
    assert can_be_zero(study("val_accuracy"), 3, accuracy)[0] == 0.0


def test_a_model_that_answers_nothing_finite_has_lost_too_many() -> None:
    infinite = {"loss": [float("inf")] * 4}
    assert can_be_zero(study(), 3, [(0.0, WHOLE), (0.5, WHOLE), (0.7, infinite)])[0] == 0.5


@pytest.mark.parametrize("whole", [{}, {"loss": [0.3]}, {"loss": [0.3, float("nan")]}])
def test_too_few_scores_are_refused(whole: dict[str, list[float]]) -> None:
    with pytest.raises(InvalidInput, match="trial 3 has no finite 'loss' on two groups of rows"):
        can_be_zero(study(), 3, [(0.0, whole)])
