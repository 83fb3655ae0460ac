"""A coordinator that goes on with what the workers of a dead one hold: nothing lost, nothing trained twice.

The workers are child processes that the test lets outlive their coordinators; Ray's own do so in
tests/acceptance/test_reattach.py.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from db import failpoints, reports, schema, studies, trials
from db.engine import Database, connect
from db.failpoints import InjectedFault
from tests import rows
from tests.bench import Bench
from tests.invariants import Snapshot, results
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import StudyDefinition
from tuner.reporting.results import study_row, summary
from workers.contract import Assignment
from workers.launchers.processes import ProcessLauncher
from workers.launchers.transport import Answer

STUDY: dict[str, Any] = {"trials": 6, "epochs": 9, "pruner": "asha", "seed": 3}
BEGUN = ("dispatched:2", "reports_received:3", "end_received:1", "before_commit:4", "reports_committed:3", "decided:3")


class Outliving(ProcessLauncher):
    """Child processes whose coordinator may change."""

    def held(self) -> list[Assignment]:
        slots, self._slots = self._slots, []
        self._ready.clear()
        return [assignment for slot in slots if (assignment := self._holds(slot.link)) is not None]

    def _holds(self, link: Any) -> Assignment | None:
        call, said = link.call("holds", [], link.name), None
        while said is None:
            answers = [item for _, item in self._transport.wait([link], 60.0) if isinstance(item, Answer)]
            said = next((item for item in answers if item.call == call), None)
        form = said.form["value"]
        if form is None:
            link.end()
            return None
        assignment = Assignment.from_json(form)
        self._orphans[assignment.id] = link
        return assignment


@pytest.fixture
def make(database: Database, database_url: str, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """Benches whose workers outlive their coordinators."""
    opened: list[Outliving] = []

    def bench(workers: int = 1) -> Bench:
        opened.append(Outliving(workers))
        return Bench(database, database_url, opened[-1], tmp_path)

    yield bench
    for launcher in opened:
        launcher.close()


@pytest.fixture(params=[1, 3])
def company(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many trials a worker has at a time."""
    monkeypatch.setattr(StudyDefinition, "together", lambda _, found: request.param)
    return int(request.param)


def replaced(bench: Bench) -> None:
    """The coordinator is gone, and another one begins."""
    with bench.database.write() as s:
        for study in bench.coordinator.studies.values():
            assert studies.release(s, study.id, bench.coordinator.owner, study.term)
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)


def begun_again(bench: Bench) -> list[str]:
    """Attempts that a worker was told about and that were begun again, so that epochs were trained twice."""
    found = []
    with bench.database.read() as s:
        for trial in bench.trials("study"):
            *earlier, _ = trials.attempts(s, trial.id)
            tokens = sorted({report.token for report in reports.curve(s, trial.id)})
            if len(tokens) != 1 or any(attempt.trained for attempt in earlier):
                words = [f"{attempt.token} {attempt.trained}: {attempt.cause} {attempt.message}" for attempt in earlier]
                found.append(f"trial {trial.number}, reports of {tokens}, earlier {words}")
    return found


def reattached(bench: Bench, name: str) -> list[int]:
    """How many trials each claim found at work."""
    with bench.database.read() as s:
        found = rows.events(s, study_row(bench.database, name).id)
        return [event.data["reattached"] for event in found if event.kind == "study_claimed"]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[Any]]:
    """The results of the same study under one coordinator, for so many trials at a time."""

    @cache
    def run(company: int) -> list[Any]:
        home = tmp_path_factory.mktemp("calm")
        url = f"sqlite:///{home}/ockham.db"
        with connect(url) as database, closing(ProcessLauncher(1)) as launcher:
            schema.prepare(database)
            bench = Bench(database, url, launcher, home)
            bench.submit("study", "short_descent", **STUDY)
            bench.finish("study")
            return results(database, "study")

    return run


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
@pytest.mark.parametrize("point", BEGUN)
def test_trials_go_on_wherever_their_coordinator_ended(
    point: str,
    company: int,
    make: Callable[..., Bench],
    undisturbed: Callable[[int], list[Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = make()
    bench.submit("study", "short_descent", **STUDY)
    failpoints._visits.clear()
    monkeypatch.setenv("FAILPOINT", f"{point}=raise")
    before = Snapshot.of(bench.database)
    with pytest.raises(InjectedFault):
        bench.finish("study")
    between = Snapshot.of(bench.database)
    before.leads_to(between)
    replaced(bench)
    bench.finish("study")
    between.leads_to(Snapshot.of(bench.database))
    monkeypatch.delenv("FAILPOINT")
    assert results(bench.database, "study") == undisturbed(company)
    assert begun_again(bench) == []
    assert len(reattached(bench, "study")) == 2, "there was only one coordinator"


def test_trials_that_a_dead_coordinator_had_saved_are_queued_again(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """There is no way back from saving but a stop, whatever the next coordinator wants."""
    monkeypatch.setenv("TUNER_HOME", str(tmp_path))
    bench = make()
    bench.submit("study", "until_enough", trials=1, epochs=100_000, checkpoint_seconds=1000)
    bench.run(lambda: summary(bench.database, "study").epochs >= 1)
    [running] = bench.coordinator._assignments.running
    running.leave("A study of higher priority needs the worker.")
    failpoints._visits.clear()
    monkeypatch.setenv("FAILPOINT", "retry_received=raise")
    with pytest.raises(InjectedFault):
        bench.finish("study")
    (tmp_path / "enough").touch()
    replaced(bench)
    bench.finish("study")
    assert sorted(reattached(bench, "study")) == [0, 1]
    with bench.database.read() as s:
        [trial] = bench.trials("study")
        first, second = trials.attempts(s, trial.id)
        assert first.cause == "cancelled" and "gone" in first.message
        assert second.resumed_from == max(report.epoch for report in reports.curve(s, trial.id) if report.token == 1)


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_worker_whose_trial_was_queued_again_meanwhile_is_stopped(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.submit("study", "paced", trials=1, epochs=150)
    bench.run(lambda: summary(bench.database, "study").epochs >= 1)
    replaced(bench)
    [trial] = bench.trials("study")
    with bench.database.write() as s:
        assert trials.requeue(s, trials.End(trial.id, trial.token, "queued", cause="deadline", message="Nobody came."))
    bench.finish("study")
    assert reattached(bench, "study") == [0, 0]
    assert [trial.token for trial in bench.trials("study")] == [2]


@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_the_worker_of_a_study_that_has_ended_is_given_back(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.submit("first", trials=1)
    bench.finish("first")
    [before] = bench.launcher.describe()
    replaced(bench)
    bench.submit("second", trials=1)
    bench.finish("second")
    [after] = bench.launcher.describe()
    assert after["pid"] == before["pid"]
