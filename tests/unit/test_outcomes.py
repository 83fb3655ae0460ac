"""What a failure means for a trial: how often it is tried again, after which pause, and what counts as the same."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest

from tuner.coordination.outcomes import Failure, best_point, interrupted, of_lost
from workers.contract import CAUSES, Cause, Lost


def losses(cause: Cause, process_end: str = "") -> Sequence[tuple[str, float]]:
    """State and pause after each loss of one kind, until the trial fails."""
    earlier: list[Failure] = []
    found = []
    while True:
        outcome = of_lost(Lost("a", "worker", cause, "It is gone.", process_end=process_end), earlier, alone=True)
        found.append((outcome.state, outcome.after))
        if outcome.state == "failed":
            return found
        assert outcome.failure is not None
        earlier.append(outcome.failure)


@pytest.mark.parametrize(
    ("cause", "process_end", "pauses"),
    [
        ("node_lost", "", [2.0, 8.0, 32.0]),
        ("storage", "", [2.0, 8.0, 32.0]),
        ("node_lost", "by signal SIGKILL", [0.0]),
        ("oom", "by signal SIGKILL", [0.0]),
        ("hang", "", [0.0]),
        ("user_error", "", []),
        ("non_finite", "", []),
    ],
)
def test_each_kind_of_failure_has_its_own_budget(cause: Cause, process_end: str, pauses: list[float]) -> None:
    assert losses(cause, process_end) == [*(("queued", pause) for pause in pauses), ("failed", 0.0)]


def test_one_kind_does_not_use_the_retries_of_another() -> None:
    others = [Failure("node_lost"), Failure("node_lost"), Failure("node_lost"), Failure("hang"), Failure("oom")]
    died = Lost("a", "w", "node_lost", "", process_end="with exit code 1")
    assert of_lost(died, others, alone=True).state == "queued"
    assert of_lost(Lost("a", "w", "node_lost", ""), others, alone=True).state == "failed"


@pytest.mark.parametrize("state", ["queued", "cancelled"])
def test_an_interruption_uses_no_retry(state: str) -> None:
    outcome = interrupted(state, "The study was paused.")  # type: ignore[arg-type]
    assert outcome.failure is not None and outcome.failure.cause in CAUSES
    assert losses("hang")[0] == ("queued", 0.0)
    assert of_lost(Lost("a", "w", "hang", ""), [outcome.failure] * 9, alone=True).state == "queued"


def test_the_last_failure_says_how_often_it_happened() -> None:
    outcome = of_lost(Lost("a", "w", "oom", "Memory ran out."), [Failure("oom")], alone=True)
    assert outcome.message == "Memory ran out. Attempt 2 that ended so: the trial is not tried again."


@pytest.mark.parametrize(("cause", "state"), [("oom", "queued"), ("hang", "queued"), ("storage", "failed")])
def test_in_company_only_the_infrastructures_budget_is_used(cause: Cause, state: str) -> None:
    assert of_lost(Lost("a", "w", cause, ""), [Failure(cause)] * 3, alone=False).state == state


@pytest.mark.parametrize(("direction", "best"), [("minimize", (3, 0.5)), ("maximize", (4, 2.0))])
def test_a_point_that_is_not_finite_is_never_the_best(direction: str, best: tuple[int, float]) -> None:
    curve = {1: math.inf, 2: -math.inf, 3: 0.5, 4: 2.0, 5: math.nan, 6: None, 7: 0.5}
    assert best_point(curve, direction) == best
    assert best_point({1: math.inf, 2: math.nan, 3: -math.inf}, direction) is None
