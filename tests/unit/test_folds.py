"""Studies whose rows validate in turn: what may be asked for, and what follows from it."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.definitions.definition import StudyDefinition, parse
from tuner.errors import InvalidStudy


def study(data: dict[str, Any], **changes: Any) -> StudyDefinition:
    return parse({"name": "folded", "data": {"function": "m:load", **data}, "space": {"family": "mlp"}, **changes})


def test_each_fold_has_a_trial_unless_more_are_asked_for() -> None:
    found = study({"folds": 5})
    assert (found.folds, found.repeats, found.trials) == (5, 5, 50)
    assert found.data is not None and found.data["validation"] is None and found.data["test"] == 0.2
    assert study({"folds": 5}, repeats=10).repeats == 10
    assert StudyDefinition.from_json(found.to_json()) == found
    assert (study({}).folds, study({}).repeats) == (1, 1)


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        ({"folds": 1}, {"trials": 5}, ["`data.folds`", "from 2"]),
        ({"cv": 5}, {}, ["`data.cv`", "`folds`"]),
        ({}, {"cv": 5}, ["`cv`", "`data.folds`"]),
        ({"folds": 5, "validation": 0.3}, {}, ["`data.folds`", "`data.validation`", "keep one"]),
        ({"folds": 5, "test": None, "held_back": 0.3}, {}, ["`data.folds`", "`data.held_back`", "keep one"]),
        ({"folds": 5}, {"repeats": 3, "trials": 30}, ["`repeats` is 3", "`data.folds` is 5", "expected 5"]),
        ({"folds": 3}, {}, ["`trials` is 50", "`data.folds` is 3", "multiple of 3", "48 or 51"]),
        ({"folds": 3}, {"repeats": 6}, ["`trials` is 50", "`repeats` is 6", "multiple of 6", "48 or 54"]),
    ],
)
def test_what_does_not_go_together_is_told_in_a_sentence(
    data: dict[str, Any], changes: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(InvalidStudy) as refused:
        study(data, **changes)
    [problem] = refused.value.problems
    assert all(word in problem for word in words), problem
