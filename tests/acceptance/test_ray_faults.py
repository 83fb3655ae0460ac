"""The faults of a Ray cluster of a head and two nodes: said in a line, and survived with the same results."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from db import reports, trials
from db.engine import Database
from db.tables import Attempt
from tests import clusters, coordinators, soup
from tests.clusters import HEAD, Cluster
from tests.commands import ended, environment, run, said, started
from tests.coordinators import Place, wait_for
from tests.invariants import Snapshot, check_invariants, results
from tuner.databases import open_database
from tuner.reporting.results import study_row, summary

pytestmark = [pytest.mark.ray, pytest.mark.every_fault]

STUDY: dict[str, Any] = {
    "name": "faulty",
    "loop": "tests.loops:slow_descent",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "val_loss",
    "sampler": "random",
    "pruner": "none",
    "trials": 8,
    "epochs": 60,
    "checkpoint_seconds": 0.2,
}
NODES = ("one", "two")


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that trains nothing, beside which coordinators run, and two nodes of two CPUs."""
    with clusters.planned() as cluster:
        begin(cluster)
        yield cluster


def begin(cluster: Cluster) -> None:
    cluster.begin(cpus=0)
    for node in NODES:
        cluster.join(node)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """The study's results without a fault."""
    home = tmp_path_factory.mktemp("undisturbed")
    place = Place(home, f"sqlite:///{home}/ockham.db", {**STUDY, "loop": "tests.loops:descent"}, "inline")
    assert coordinators.run(place) == 0, place.log
    with open_database(place.settings) as database:
        return results(database, "faulty")


@contextmanager
def submitted(cluster: Cluster) -> Iterator[Database]:
    """The study's database."""
    file = cluster.folder / "study.json"
    file.write_text(json.dumps(STUDY))
    assert run(cluster.home, "study", "submit", str(file)).code == 0
    with cluster.database() as database:
        yield database


def over(database: Database) -> bool:
    return study_row(database, "faulty").state == "finished"


def trained(database: Database) -> list[tuple[int, Attempt]]:
    """The attempts that have reported, each with its worker's process."""
    with database.read() as s:
        found = []
        for trial in trials.all(s, study_row(database, "faulty").id):
            processes = {report.token: int(report.metrics["pid"]) for report in reports.curve(s, trial.id)}
            attempts = {attempt.token: attempt for attempt in trials.attempts(s, trial.id)}
            found += [(pid, attempts[token]) for token, pid in processes.items()]
        return found


def of(workers: list[psutil.Process], database: Database) -> list[Attempt]:
    pids = {process.pid for process in workers}
    return [attempt for pid, attempt in trained(database) if pid in pids]


def finish(cluster: Cluster, database: Database, coordinator: subprocess.Popen[str]) -> None:
    wait_for(lambda: over(database) or coordinator.poll() is not None)
    coordinator.terminate()
    outcome = ended(coordinator)
    assert over(database), outcome.err
    check_invariants(database, "faulty", cluster.home / "artifacts")


def test_the_head_dies_and_comes_back(cluster: Cluster, undisturbed: list[Any]) -> None:
    """Its nodes cannot join it again, as it does not know them: they end, and are started again with it."""
    with submitted(cluster) as database:
        with started(cluster.home, "serve", **cluster.variables) as coordinator:
            wait_for(lambda: summary(database, "faulty").epochs >= 20)
            before = Snapshot.of(database)
            for process in cluster.processes(HEAD):
                if process.name() == "gcs_server":
                    process.kill()
            outcome = ended(coordinator, coordinators.PATIENCE_SECONDS)
        [line] = [line for line in outcome.err.splitlines() if "CRITICAL" in line]
        assert f"The head of the Ray cluster at {cluster.address} is lost: Connection refused." in line
        assert outcome.code == 1 and study_row(database, "faulty").state == "active"
        left = [process for process in cluster.processes(*NODES) if process.name() == "raylet"] + cluster.workers()
        with started(cluster.home, "serve", **cluster.variables) as coordinator:
            said(coordinator, f"No Ray cluster can be reached at {cluster.address}")
            cluster.kill(HEAD)
            begin(cluster)
            finish(cluster, database, coordinator)
        before.leads_to(Snapshot.of(database))
        assert results(database, "faulty") == undisturbed
        psutil.wait_procs(left, timeout=coordinators.PATIENCE_SECONDS)
        assert not any(process.is_running() for process in left), "a node of the head that died trains on"


def test_a_node_freezes_and_comes_back(cluster: Cluster, undisturbed: list[Any]) -> None:
    """Its trials go on elsewhere; its workers end when it goes on, and what they say changes nothing."""
    with submitted(cluster) as database, started(cluster.home, "serve", **cluster.variables) as coordinator:
        wait_for(lambda: len(of(cluster.workers("two"), database)) == 2)
        frozen, workers = cluster.processes("two"), cluster.workers("two")
        for process in frozen:
            process.suspend()
        wait_for(lambda: all(attempt.ended_at for attempt in of(workers, database)))
        before = Snapshot.of(database)
        for process in frozen:
            process.resume()
        psutil.wait_procs(workers, timeout=coordinators.PATIENCE_SECONDS)
        assert not any(process.is_running() for process in workers), "a worker of a lost node lives on"
        lost = of(workers, database)
        assert {attempt.cause for attempt in lost} == {"node_lost"}, [attempt.message for attempt in lost]
        finish(cluster, database, coordinator)
        before.leads_to(Snapshot.of(database))
        assert results(database, "faulty") == undisturbed


def test_a_worker_is_killed(cluster: Cluster, undisturbed: list[Any]) -> None:
    with submitted(cluster) as database, started(cluster.home, "serve", **cluster.variables) as coordinator:
        wait_for(lambda: bool(of(cluster.workers("one"), database)))
        victim, *_ = [process for process in cluster.workers("one") if of([process], database)]
        [before] = of([victim], database)
        victim.kill()
        wait_for(lambda: all(attempt.ended_at for attempt in of([victim], database)))
        [lost] = [attempt for attempt in of([victim], database) if attempt.token == before.token]
        assert (lost.cause, lost.process_end) == ("node_lost", "unexpectedly"), lost.message
        finish(cluster, database, coordinator)
        assert results(database, "faulty") == undisturbed


VERSION = """
import json, sys
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER
from ray._raylet import GcsClient
client = GcsClient(address=sys.argv[1])
form = json.loads(client.internal_kv_get(CLUSTER_METADATA_KEY, namespace=KV_NAMESPACE_CLUSTER))
print(form["ray_version"])
form["ray_version"] = sys.argv[2]
client.internal_kv_put(CLUSTER_METADATA_KEY, json.dumps(form).encode(), True, namespace=KV_NAMESPACE_CLUSTER)
"""


def claim_version(cluster: Cluster, version: str) -> str:
    """Let a cluster say that it runs another version of Ray; returns what it said before."""
    command = [sys.executable, "-c", VERSION, cluster.address, version]
    own = environment(cluster.home, **cluster.variables)
    return subprocess.run(command, env=own, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def refused(cluster: Cluster) -> Callable[..., str]:
    """What `tuner serve` says before it ends because a cluster does not let it in; the study stays active."""

    def serve(database: Database, **variables: str) -> str:
        with started(cluster.home, "serve", **{**cluster.variables, **variables}) as coordinator:
            outcome = ended(coordinator, coordinators.PATIENCE_SECONDS)
        assert outcome.code == 1 and study_row(database, "faulty").state == "active", outcome
        line = outcome.err.splitlines()[-1]  # Ray warns before it, once a second
        assert line.startswith("tuner: ") and cluster.address in line
        return line

    return serve


def test_a_cluster_refuses_a_coordinator_and_takes_it_later(
    cluster: Cluster, refused: Callable[..., str], undisturbed: list[Any], tmp_path: Path
) -> None:
    with submitted(cluster) as database:
        assert "its token differs" in refused(database, RAY_AUTH_TOKEN="0" * 64)
        version = claim_version(cluster, "1.2.3")
        assert "runs other versions than this process (Ray: 1.2.3" in refused(database)
        claim_version(cluster, version)
        with started(cluster.home, "serve", **cluster.variables) as coordinator:
            finish(cluster, database, coordinator)
        assert results(database, "faulty") == undisturbed


@pytest.mark.parametrize("seed", [1, 2, 60015])
def test_nothing_is_lost_in_a_mixture_of_faults(seed: int) -> None:
    with clusters.begun(soup.CPUS) as one_node:
        acts, problem = soup.run(seed, cluster=one_node)
    assert problem is None, f"{problem} in {acts}"
