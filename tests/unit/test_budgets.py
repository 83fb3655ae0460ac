"""The limits of a study, each at its edge."""

from __future__ import annotations

from typing import Any

import pytest

from tuner.coordination.budgets import Budget, Progress
from tuner.definitions.definition import StudyDefinition


@pytest.mark.parametrize(
    ("limits", "within", "beyond", "words"),
    [
        ({"trials": 3}, {"started": 2}, {"started": 3}, "limit of 3 trials"),
        ({"total_epochs": 50}, {"epochs": 49}, {"epochs": 50}, "50 epochs"),
        ({"max_seconds": 60.0}, {"seconds": 59.9}, {"seconds": 60.0}, "60 seconds"),
        ({"target": 0.1}, {"best": 0.11}, {"best": 0.1}, "the target of 0.1"),
        ({"target": 0.9, "direction": "maximize"}, {"best": 0.89}, {"best": 0.9}, "the target of 0.9"),
        ({"target": 0.1}, {"best": None}, {"best": -1.0}, "is -1"),
        (
            {"no_improvement": 4},
            {"best": 0.5, "trials_since_best": 3},
            {"best": 0.5, "trials_since_best": 4},
            "4 trials in a row did no better than 0.5",
        ),
    ],
)
def test_a_limit_ends_a_study_exactly_when_it_is_reached(
    limits: dict[str, Any], within: dict[str, Any], beyond: dict[str, Any], words: str
) -> None:
    budget = Budget(**{"trials": 100, **limits})
    assert budget.exhausted(Progress(**within)) is None
    reason = budget.exhausted(Progress(**beyond))
    assert reason is not None
    assert words in reason
    assert reason.endswith(".")
    assert budget.failed(Progress(**beyond)) is None


def test_without_limits_only_the_number_of_trials_counts() -> None:
    much = Progress(finished=99, started=99, failures=99, epochs=10**9, seconds=1e9, best=0.0, trials_since_best=99)
    assert Budget(trials=100).exhausted(much) is None
    assert Budget(trials=100).failed(much) is None


def test_no_improvement_waits_for_a_first_result() -> None:
    assert Budget(trials=100, no_improvement=2).exhausted(Progress(finished=9, trials_since_best=9)) is None


@pytest.mark.parametrize("limit", [0, 3])
def test_one_failure_more_than_may_fail_fails_the_study(limit: int) -> None:
    budget = Budget(trials=100, max_failures=limit)
    assert budget.failed(Progress(finished=9, failures=limit)) is None
    reason = budget.failed(Progress(finished=9, failures=limit + 1))
    assert reason is not None
    assert f"{limit + 1} of 9 finished trials failed, and {limit} may" in reason


def test_the_target_is_named_before_the_number_of_trials() -> None:
    reason = Budget(trials=3, target=0.1).exhausted(Progress(started=3, best=0.05))
    assert reason == "The best objective is 0.05, which reaches the target of 0.1."


def test_every_limit_that_is_used_up_is_named_with_its_field() -> None:
    budget = Budget(trials=3, total_epochs=9, max_seconds=60.0, target=0.1, no_improvement=2, max_failures=1)
    much = Progress(finished=3, started=3, failures=2, epochs=9, seconds=60.0, best=0.1, trials_since_best=2)
    used_up = budget.used_up(much)
    fields = ["max_failures", "target", "trials", "total_epochs", "max_seconds", "no_improvement"]
    assert [limit.field for limit in used_up] == fields
    assert used_up[0].sentence == budget.failed(much) and used_up[1].sentence == budget.exhausted(much)
    assert budget.used_up(Progress(finished=2, started=2)) == []


def test_a_definition_gives_its_limits() -> None:
    limits = {
        "trials": 7,
        "total_epochs": 70,
        "max_seconds": 7.5,
        "target": 0.7,
        "no_improvement": 5,
        "max_failures": 2,
    }
    definition = StudyDefinition(name="digits", direction="maximize", **limits)  # type: ignore[arg-type]
    assert Budget.of(definition) == Budget(direction="maximize", **limits)  # type: ignore[arg-type]
