"""`kill -9` of `tuner serve` on a Ray cluster that lives on: the next one goes on with the trials that still train."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from db import events, reports, studies, trials
from db.engine import Database
from tests.commands import environment, run, started
from tests.invariants import Snapshot, check_invariants
from tuner.configuration import Settings
from tuner.databases import find_database
from tuner.results import study_row

pytestmark = pytest.mark.ray

PATIENCE_SECONDS = 120.0
TRIES = 3  # on a machine that is very busy Ray gives its own start up after 30 s
MARK = "OCKHAM_TEST_CLUSTER"
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


@dataclass(frozen=True)
class Cluster:
    """A cluster of two cores that no test's process owns, and a home whose database and studies belong to it."""

    folder: Path
    port: int
    variables: dict[str, str]

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def database(self) -> Database:
        database = find_database(Settings.load({}, home=self.home))
        assert database is not None
        return database

    def close(self) -> None:
        """Kill whatever carries this cluster's mark: Ray's own processes leave their parents."""
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.variables[MARK]:
                    process.kill()
            except psutil.Error:
                continue


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def begun(folder: Path, session: str) -> tuple[Cluster, str]:
    """A cluster that was asked to begin, and what went wrong with it."""
    port, token = free_port(), secrets.token_hex(32)
    secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0", MARK: token[:8]}
    cluster = Cluster(folder, port, {**secret, "TUNER_LAUNCHER": "ray", "TUNER_RAY_ADDRESS": f"127.0.0.1:{port}"})
    ray = str(Path(sys.executable).with_name("ray"))
    where = f"--head --port={port} --node-ip-address=127.0.0.1 --temp-dir={folder / session} --num-cpus=2"
    lean = "--include-dashboard=false --object-store-memory=100000000 --disable-usage-stats"
    ports = f"--ray-client-server-port={free_port()} --dashboard-agent-listen-port={free_port()}"
    command, own = [ray, "start", *f"{where} {lean} {ports}".split()], environment(cluster.home, **cluster.variables)
    done = subprocess.run(command, env=own, check=False, capture_output=True, text=True)
    return cluster, done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="re-", dir="/tmp"))  # the paths of Ray's sockets have to be short
    (folder / "home").mkdir()
    try:
        for number in range(TRIES):
            cluster, problem = begun(folder, str(number))
            if not problem:
                break
            cluster.close()
        assert not problem, problem
        yield cluster
    finally:
        cluster.close()
        shutil.rmtree(folder, ignore_errors=True)


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
            claims = [event.data for event in events.listing(s, study.id) if event.kind == "study_claimed"]
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
    address = f"127.0.0.1:{cluster.port}"
    command = [sys.executable, "-c", ALONE, address, str(cluster.folder / "artifacts")]
    variables = environment(cluster.home, **cluster.variables)
    with subprocess.Popen(command, env=variables, text=True, stdout=subprocess.PIPE, cwd=Path.cwd()) as alone:
        assert alone.stdout is not None
        pid = int(alone.stdout.readline())
        assert psutil.pid_exists(pid)
        alone.kill()
    wait_for(lambda: not psutil.pid_exists(pid))
