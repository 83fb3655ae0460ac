"""Every kill point, on both databases: nothing lost, nothing twice, and the results of an undisturbed run.

`kill` ends the coordinator of `tuner run` with SIGKILL, and running it again resumes. `commit_then_error` lets the
next transaction be committed and tells the coordinator of `tuner serve` that the database is gone: it tries again, by
itself. `pytest --every-fault` runs each point at several visits; without it every point runs once on SQLite, and some
on PostgreSQL.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from db import studies
from db.engine import Database
from tests import coordinators, promotions
from tests.coordinators import FAULT, Place
from tests.invariants import Snapshot, check_invariants, check_nothing_is_left, check_versions, results
from tuner.databases import open_database
from tuner.promoting import registry
from tuner.reporting.results import study_row, summary

STUDY: dict[str, Any] = {
    "name": "faulty",
    "loop": "tests.loops:dying_once",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}, "l2": {"type": "lambda", "low": 1e-6, "high": 1e-1}},
    "objective": "val_loss",
    "trials": 6,
    "epochs": 9,
    "workers": 1,
    "checkpoint_seconds": 0.001,
    "pruner": "asha",
    "seed": 3,
}

ONCE = ("study_inserted", "study_committed", "claimed", "retry_received", "study_ending", "study_finished")
OFTEN = (
    "asked",
    "before_commit",
    "committed",
    "trials_committed",
    "dispatched",
    "reports_received",
    "end_received",
    "reports_committed",
    "decided",
)
COMPLETE = 3  # trials of the study: the others are pruned, and end without `end_received`
ACTIONS = ("kill", "commit_then_error")
ON_POSTGRESQL = (
    "study_inserted=commit_then_error",
    "before_commit:3=kill",
    "before_commit:3=commit_then_error",
    "trials_committed:3=kill",
    "end_received:3=commit_then_error",
    "study_ending=commit_then_error",
)
PROMOTION = ("version_reserved", "exported", "verified", "renamed", "alias_moved")
COMMITS = 4  # transactions of a promotion


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize by database and fault: a slice, or everything."""
    everything = metafunc.config.getoption("every_fault")
    cases: list[tuple[str, str]] = []
    if "fault" in metafunc.fixturenames:
        visits = (1, 2, 3, 5) if everything else (3,)
        faults = [f"{point}={action}" for point in ONCE for action in ACTIONS]
        visited = ((point, visit) for point in OFTEN for visit in visits)
        reached = [each for each in visited if each[0] != "end_received" or each[1] <= COMPLETE]
        faults += [f"{point}:{visit}={action}" for point, visit in reached for action in ACTIONS]
        faults += [f"{point}:3=raise" for point in ("before_commit", "reports_committed")]
        cases = [("sqlite", fault) for fault in faults]
        cases += [("postgresql", fault) for fault in (faults if everything else ON_POSTGRESQL)]
    if "promotion_fault" in metafunc.fixturenames:
        faults = [f"{point}=kill" for point in PROMOTION]
        faults += [f"committed:{commit}={action}" for commit in range(1, COMMITS + 1) for action in ACTIONS]
        cases = [("sqlite", fault) for fault in faults]
        cases += [("postgresql", fault) for fault in (faults if everything else faults[:: len(ACTIONS) + 1])]
    if cases:
        marked = [pytest.param(*case, marks=[pytest.mark.postgresql] * (case[0] == "postgresql")) for case in cases]
        name = "fault" if "fault" in metafunc.fixturenames else "promotion_fault"
        metafunc.parametrize(("dialect", name), marked, indirect=["dialect"])


@pytest.fixture
def dialect(request: pytest.FixtureRequest) -> str:
    """The database of a case, instead of both in turn."""
    return str(request.param)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The results of the same study, whose trials never fail, run in one go."""
    home = tmp_path_factory.mktemp("undisturbed")
    place = Place(home, f"sqlite:///{home}/ockham.db", {**STUDY, "loop": "tests.loops:descent"})
    assert coordinators.run(place) == 0, place.log
    with open_database(place.settings) as database:
        return results(database, "faulty")


def test_a_coordinator_resumes_as_if_nothing_had_happened(
    fault: str, database: Database, database_url: str, undisturbed: list[Any], tmp_path: Path
) -> None:
    place = Place(tmp_path, database_url, STUDY)
    before = Snapshot.of(database)
    if fault.endswith("commit_then_error"):
        code = coordinators.serve(place, fault, BEAT_SECONDS=0.2)
        assert code in (0, FAULT), place.log
    else:
        code = coordinators.run(place, fault)
        assert code == (-9 if fault.endswith("kill") else FAULT), "the fault was never reached"
    between = Snapshot.of(database)
    before.leads_to(between)
    assert code == 0 or coordinators.run(place) == 0, place.log
    between.leads_to(Snapshot.of(database))
    assert f"Failpoint {fault.partition(':')[0].partition('=')[0]}" in place.log, "the fault was never reached"
    check_invariants(database, "faulty", tmp_path / "artifacts", undisturbed)
    check_nothing_is_left(tmp_path)


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("dialect", ["sqlite"], indirect=True)
def test_a_study_that_was_asked_to_stop_stops_whatever_happens_to_its_coordinator(
    action: str, database: Database, database_url: str, tmp_path: Path
) -> None:
    place = Place(tmp_path, database_url, {**STUDY, "loop": "tests.loops:slow_descent", "trials": 1000})
    process = coordinators.started(place, f"stop_seen={action}", BEAT_SECONDS=0.1)
    coordinators.wait_for(lambda: Snapshot.of(database).reports != {} or not process.is_alive())
    with database.write() as s:
        assert studies.request(s, study_row(database, "faulty").id, "stopping")
    process.join(coordinators.PATIENCE_SECONDS)
    assert process.exitcode == (-9 if action == "kill" else FAULT), place.log
    between = Snapshot.of(database)
    assert coordinators.run(place) == 0, place.log
    between.leads_to(Snapshot.of(database))
    check_invariants(database, "faulty", tmp_path / "artifacts")
    assert study_row(database, "faulty").state == "stopped"
    assert set(summary(database, "faulty").counts) <= {"complete", "pruned", "cancelled"}


@pytest.fixture
def promotable(database: Database, database_url: str, tmp_path: Path) -> Place:
    """A finished study whose best trial has a model."""
    promotions.finished_study(database, database_url, tmp_path)
    return Place(tmp_path, database_url, {"name": "study"})


def test_a_promotion_ended_anywhere_leaves_no_torn_version_and_the_next_one_mends(
    promotion_fault: str, database: Database, promotable: Place, tmp_path: Path
) -> None:
    folder = tmp_path / "models" / "model"
    before = Snapshot.of(database)
    code = coordinators.promote(promotable, promotion_fault)
    assert code in ((-9,) if promotion_fault.endswith("kill") else (FAULT, 0)), promotable.log
    check_versions(folder)
    between = Snapshot.of(database)
    before.leads_to(between)
    ready = [entry for entry in registry.versions(database) if entry.state == "ready"]
    assert all(entry.aliases for entry in ready), "a version became ready without the alias it was made for"
    assert coordinators.promote(promotable) == 0, promotable.log
    between.leads_to(Snapshot.of(database))
    assert not list(folder.glob(".staging*")), "I7: a staging folder was left behind"
    entries = registry.versions(database, "model")
    assert [entry.number for entry in entries if entry.state == "ready"] == check_versions(folder)
    assert [entry.aliases for entry in entries][-1] == ("champion",)
    assert "staging" not in {entry.state for entry in entries}
