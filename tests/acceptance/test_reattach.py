"""`tuner serve` on a Ray cluster of its own life: it waits for it, and is killed while its trials train on."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from db import reports, studies, trials
from db.engine import Database
from tests import clusters, rows
from tests.clusters import Cluster
from tests.commands import ended, environment, run, said, started
from tests.invariants import Snapshot, check_invariants
from tuner.reporting.results import study_row

pytestmark = pytest.mark.ray

PATIENCE_SECONDS = 120.0
STUDY = {
    "name": "long",
    "loop": "tests.loops:until_enough",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "val_loss",
    "pruner": "none",
    "trials": 2,
    "epochs": 1_000_000,
}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < end, "It never happened."
        time.sleep(0.05)


@pytest.fixture(scope="module")
def plan() -> Iterator[Cluster]:
    """A cluster that has not begun unless a test began it."""
    with clusters.planned() as plan:
        yield plan


@pytest.fixture(scope="module")
def cluster(plan: Cluster) -> Cluster:
    if not plan.processes():
        plan.begin()
    return plan


def epochs(database: Database) -> list[int]:
    """How many epochs each trial of the study has reported."""
    with database.read() as s:
        found = studies.find(s, "long")
        curves = reports.objectives(s, found.id) if found is not None else {}
    return [len(curve) for curve in curves.values()]


def workers(database: Database) -> set[int]:
    """Process ids of the workers that trained the study's trials."""
    with database.read() as s:
        rows = trials.all(s, study_row(database, "long").id)
        return {int(report.metrics["pid"]) for trial in rows for report in reports.curve(s, trial.id)}


def test_a_coordinator_waits_for_its_cluster(plan: Cluster) -> None:
    with started(plan.home, "serve", **plan.variables) as coordinator:
        said(coordinator, f"No Ray cluster can be reached at {plan.address}: Connection refused.")
        plan.begin()
        assert len(said(coordinator, "serves sqlite:")) == 1, "a cause is said once"
        coordinator.terminate()
        assert ended(coordinator, PATIENCE_SECONDS).code == 0


def test_trials_outlive_their_coordinator(cluster: Cluster) -> None:
    home, file = cluster.home, cluster.folder / "study.json"
    file.write_text(json.dumps(STUDY))
    submitted = run(home, "study", "submit", str(file))
    assert submitted.code == 0, submitted.err
    with cluster.database() as database:
        for away in (0.0, 5.0):
            with started(home, "serve", **cluster.variables) as coordinator:
                reached = max([0, *epochs(database)])
                wait_for(lambda: len(epochs(database)) == 2 and min(epochs(database)) > reached)  # noqa: B023
                before = Snapshot.of(database)
                coordinator.kill()
            time.sleep(away)
        with started(home, "serve", **cluster.variables) as coordinator:
            (home / "enough").touch()
            wait_for(lambda: study_row(database, "long").state == "finished")
            processes = workers(database)
            coordinator.terminate()
            coordinator.communicate(timeout=PATIENCE_SECONDS)
        before.leads_to(Snapshot.of(database))
        check_invariants(database, "long", str(home / "artifacts"))
        with database.read() as s:
            study = study_row(database, "long")
            assert [trial.token for trial in trials.all(s, study.id)] == [1, 1]
            claims = [event.data for event in rows.events(s, study.id) if event.kind == "study_claimed"]
        assert [claim["reattached"] for claim in claims] == [0, 2, 2]
    assert len(processes) == 2
    wait_for(lambda: not any(map(psutil.pid_exists, processes)))


ALONE = """
import json, sys, time
from pathlib import Path
from workers.contract import Assignment, Member, Training
from workers.launchers import launcher
root = Path.cwd()
training = Training(study="s", model="tests.loops:paced", loop=True, space=None, data=None, objective="val_loss",
    direction="minimize", epochs=100000, patience=None, checkpoint_seconds=1000.0, artifacts=sys.argv[2],
    import_paths=(str(root),))
workers = launcher("ray", address=sys.argv[1], workers=1, lease_seconds=2.0)
workers.start(Assignment("a", training, (Member(0, 1, {"x": 0.5}, 1),)))
workers.advance("a", 100000, 1.0)
while not workers.poll(60.0):
    pass
print(workers.describe()[0]["pid"], flush=True)
time.sleep(1000)
"""


def test_a_worker_whose_coordinator_never_comes_back_ends_itself(cluster: Cluster) -> None:
    command = [sys.executable, "-c", ALONE, cluster.address, str(cluster.folder / "artifacts")]
    variables = environment(cluster.home, **cluster.variables)
    with subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE, cwd=Path.cwd()) as alone:
        assert alone.stdout is not None
        pid = int(alone.stdout.readline())
        assert psutil.pid_exists(pid)
        alone.kill()
    wait_for(lambda: not psutil.pid_exists(pid))
