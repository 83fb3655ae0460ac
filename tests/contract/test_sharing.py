"""Several studies on the same workers: shares by weight, limits, priorities that take workers, and why one waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from db import studies, trials
from tests.bench import ENDLESS, Bench
from tests.crowd import Crowd
from tuner import verbs
from tuner.coordination import coordinator as coordinating
from tuner.reporting.results import summary

SHORT: dict[str, Any] = {"loop": "paced", "epochs": 2, "trials": 2000}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinating, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(coordinating, "LOOK_SECONDS", 0.05)


@pytest.fixture
def bench(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench("crowd", workers=4)


def busy(bench: Bench) -> Counter[str]:
    """Workers by study."""
    assert isinstance(bench.launcher, Crowd)
    held = [worker["assignment"] for worker in bench.launcher.describe() if worker["assignment"]]
    return Counter(bench.launcher.assignments[name].training.study for name in held)


def waits(bench: Bench, name: str) -> str | None:
    with bench.database.read() as s:
        return next(entry.waits for entry in studies.listing(s) if entry.name == name)


def test_workers_are_shared_by_weight_and_a_new_weight_counts_at_once(bench: Bench) -> None:
    bench.submit("heavy", **SHORT, weight=3)
    bench.submit("light", **SHORT)
    bench.run(lambda: busy(bench) == {"heavy": 3, "light": 1})
    verbs.edit(bench.database, "light", {"weight": 3})
    bench.run(lambda: busy(bench) == {"heavy": 2, "light": 2})
    verbs.edit(bench.database, "heavy", {"workers": 1})
    bench.run(lambda: busy(bench) == {"heavy": 1, "light": 3})


def test_workers_that_come_free_together_are_shared_by_a_new_weight(bench: Bench) -> None:
    at_once = {**SHORT, "loop": "descent", "epochs": 1}  # every trial ends with the first answer
    bench.submit("heavy", **at_once, weight=3)
    bench.submit("light", **at_once)
    bench.run(lambda: busy(bench) == {"heavy": 3, "light": 1})
    verbs.edit(bench.database, "light", {"weight": 3})
    bench.run(lambda: busy(bench) == {"heavy": 2, "light": 2})


def test_a_study_of_the_same_priority_waits_and_is_told_for_whom(bench: Bench) -> None:
    bench.submit("first", **ENDLESS, trials=8, weight=2)
    bench.run(lambda: busy(bench) == {"first": 4})
    bench.submit("second", **SHORT)
    bench.run(lambda: waits(bench, "second") is not None)
    assert waits(bench, "second") == "4 of 4 workers are used by first (weight 2)"
    assert busy(bench) == {"first": 4}
    verbs.ask(bench.database, "first", verbs.CANCEL)
    bench.run(lambda: busy(bench) == {"second": 4} and waits(bench, "second") is None)
    assert {trial.token for trial in bench.trials("first")} == {1}, "a worker was taken from it"


def test_a_higher_priority_takes_workers_and_what_it_took_them_from_goes_on_after_it(bench: Bench) -> None:
    bench.submit("low", **ENDLESS, trials=4)
    bench.run(lambda: busy(bench) == {"low": 4} and all(trial.epochs >= 2 for trial in bench.trials("low")))
    bench.submit("high", **ENDLESS, trials=3, priority=5)
    bench.run(lambda: busy(bench)["high"] == 3)
    assert busy(bench) == {"high": 3, "low": 1}, "it took more workers than it has trials"
    bench.enough()
    bench.finish("high", "low")
    counts = [summary(bench.database, name).counts for name in ("high", "low")]
    assert counts == [{"complete": 3}, {"complete": 4}]
    assert sorted(trial.token for trial in bench.trials("low")) == [1, 2, 2, 2]
    with bench.database.read() as s:
        for trial in [trial for trial in bench.trials("low") if trial.token == 2]:
            first, second = trials.attempts(s, trial.id)
            assert (first.cause, first.message) == ("cancelled", "Study high has the higher priority 5.")
            assert second.resumed_from is not None and second.resumed_from >= 2, "it was not saved before"


def test_nothing_of_a_lower_priority_starts_while_a_higher_one_is_short(bench: Bench) -> None:
    bench.submit("low", **SHORT)
    bench.submit("high", **SHORT, priority=1)
    bench.run(lambda: busy(bench) == {"high": 4} and waits(bench, "low") is not None)
    before = len(bench.trials("low"))
    bench.run(lambda: len(bench.trials("high")) >= 20)
    assert len(bench.trials("low")) == before
    assert waits(bench, "low") == "high comes first (priority 1)"
    verbs.ask(bench.database, "high", verbs.PAUSE)
    bench.run(lambda: busy(bench) == {"low": 4} and waits(bench, "low") is None)


def test_a_study_that_no_node_can_run_says_so_and_holds_back_nobody(bench: Bench) -> None:
    bench.submit("impossible", **SHORT, gpus_per_trial=1, priority=9)
    bench.submit("plain", **SHORT)
    bench.run(lambda: busy(bench) == {"plain": 4} and waits(bench, "impossible") is not None)
    assert waits(bench, "impossible") == "A trial asks for 1 GPUs, and there are none."


@pytest.fixture
def two_cores(make_bench: Callable[..., Bench]) -> Bench:
    return make_bench("crowd", workers=2)


def running(bench: Bench) -> list[tuple[str, int]]:
    """Trials with a worker, of the studies that `two_cores` has."""
    rows = [(name, trial) for name in ("small", "big") for trial in bench.trials(name)]
    return [(name, trial.number) for name, trial in rows if trial.state == "running"]


def test_trials_of_different_sizes_are_planned_against_the_same_cores(two_cores: Bench) -> None:
    two_cores.submit("small", **SHORT)
    two_cores.submit("big", **SHORT, cpus_per_trial=2)
    two_cores.run(lambda: all(len(two_cores.trials(name)) >= 4 for name in ("small", "big")))
    for name in ("small", "big"):
        assert {trial.token for trial in two_cores.trials(name)} == {1}, "one was begun that found no worker"


def test_a_study_of_large_trials_gets_the_cores_that_come_free_one_by_one(two_cores: Bench) -> None:
    two_cores.submit("small", **ENDLESS, trials=9)
    two_cores.run(lambda: busy(two_cores) == {"small": 2})
    two_cores.submit("big", **ENDLESS, trials=9, cpus_per_trial=2)
    two_cores.run(lambda: waits(two_cores, "big") is not None)
    turns = [("small", 0), ("small", 1), ("big", 0), ("small", 2), ("big", 1)]
    following = [[("small", 1)], [("big", 0)], [("small", 2)], [("big", 1)], [("small", 3)]]
    for (name, number), then in zip(turns, following, strict=True):
        verbs.cancel_trial(two_cores.database, name, number)
        two_cores.run(lambda: running(two_cores) == then)  # noqa: B023
        for _ in range(20):
            two_cores.coordinator.step()
        assert running(two_cores) == then
    two_cores.run(lambda: waits(two_cores, "big") is not None)


def test_studies_take_turns_where_there_are_fewer_workers(make_bench: Callable[..., Bench]) -> None:
    single = make_bench("crowd", workers=1)
    for name in ("first", "second", "third"):
        single.submit(name, **SHORT)
    single.run(lambda: len(single.trials("first")) >= 4)
    assert {len(single.trials(name)) for name in ("second", "third")} == {3}


def test_a_study_that_waits_for_cores_of_other_programs_holds_back_nobody(two_cores: Bench) -> None:
    two_cores.submit("big", **SHORT, cpus_per_trial=3)
    two_cores.submit("small", **SHORT)
    two_cores.run(lambda: busy(two_cores) == {"small": 2} and waits(two_cores, "big") is not None)
