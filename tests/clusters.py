"""Ray clusters that no test's process owns: they outlive coordinators, and their nodes can be killed."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from db.engine import Database
from tests.commands import environment
from tuner.configuration import Settings
from tuner.databases import find_database

TRIES = 3  # on a machine that is very busy Ray gives its own start up after 30 s
HEAD = "head"
_CLUSTER, _NODE = "OCKHAM_TEST_CLUSTER", "OCKHAM_TEST_NODE"  # what a process belongs to, in its environment
_LEAN = "--object-store-memory=100000000 --disable-usage-stats"
_RAYS_OWN = ("ray::IDLE", "ray::DashboardAgent", "ray::RuntimeEnvAgent")
_WATCHFUL = {"period_ms": "1000", "timeout_ms": "2000", "failure_threshold": "4"}  # as in docker-compose.yml


@dataclass(frozen=True)
class Cluster:
    """A cluster, begun or not, and a home whose database and studies belong to it."""

    folder: Path
    port: int
    variables: dict[str, str]  # what a process needs to find it and to be let in

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def database(self) -> Database:
        database = find_database(Settings.load({}, home=self.home))
        assert database is not None
        return database

    def begin(self, cpus: int = 2) -> None:
        """Start the head. Coordinators of this machine have it for their node."""
        ports = f"--port={self.port} --ray-client-server-port={free_port()}"
        self._start(
            HEAD, f"--head --include-dashboard=false {ports} --temp-dir={self.folder / secrets.token_hex(2)}", cpus
        )

    def join(self, name: str, cpus: int = 2) -> None:
        """Start one more node."""
        self._start(name, f"--address={self.address}", cpus)

    def processes(self, *nodes: str) -> list[psutil.Process]:
        """Those of some nodes, or of all."""
        owned = [process for process in psutil.process_iter() if self._owns(process, nodes)]
        children = [
            child for process in owned for child in _children(process)
        ]  # a title may have taken their mark's place
        return list({process.pid: process for process in [*owned, *children]}.values())

    def workers(self, *nodes: str) -> list[psutil.Process]:
        """The processes among them that Ockham's workers have, or had until a moment ago."""
        titled = [(process, _title(process)) for process in self.processes(*nodes)]
        return [process for process, title in titled if title.startswith("ray::") and not title.startswith(_RAYS_OWN)]

    def kill(self, *nodes: str) -> None:
        """Kill every process of some nodes, or of all: Ray's own leave their parents."""
        for process in self.processes(*nodes):
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue

    def _start(self, node: str, where: str, cpus: int) -> None:
        ray = str(Path(sys.executable).with_name("ray"))
        place = f"--node-ip-address=127.0.0.1 --dashboard-agent-listen-port={free_port()} --num-cpus={cpus}"
        watchful = {f"RAY_health_check_{name}": value for name, value in _WATCHFUL.items()}
        own = environment(self.home, **self.variables, **watchful, **{_NODE: node})
        command = [ray, "start", *f"{where} {place} {_LEAN}".split()]
        for _ in range(TRIES):
            done = subprocess.run(command, env=own, check=False, capture_output=True, text=True)
            if done.returncode == 0:
                return
            self.kill(node)
        raise AssertionError(f"Ray did not start: {done.stdout}{done.stderr}")

    def _owns(self, process: psutil.Process, nodes: tuple[str, ...]) -> bool:
        try:
            marks = process.environ()
        except psutil.Error:
            return False
        mine = marks.get(_CLUSTER) == self.variables[_CLUSTER] and _NODE in marks
        return mine and (not nodes or marks[_NODE] in nodes)


@contextmanager
def planned() -> Iterator[Cluster]:
    """A cluster that has not begun; nothing of it is left afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="re-", dir="/tmp"))  # the paths of Ray's sockets have to be short
    (folder / "home").mkdir()
    port, token = free_port(), secrets.token_hex(32)
    ray = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    ours = {"TUNER_LAUNCHER": "ray", "TUNER_RAY_ADDRESS": f"127.0.0.1:{port}", _CLUSTER: token[:8]}
    ours["TUNER_WORKERS"] = ""  # as many as there is room for
    cluster = Cluster(folder, port, {**ray, "RAY_worker_niceness": "0", **ours})
    try:
        yield cluster
    finally:
        cluster.kill()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def begun(cpus: int = 2) -> Iterator[Cluster]:
    """A cluster of one node."""
    with planned() as cluster:
        cluster.begin(cpus)
        yield cluster


def free_port() -> int:
    """One that nobody listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _children(process: psutil.Process) -> list[psutil.Process]:
    try:
        return list(process.children(recursive=True))
    except psutil.Error:
        return []


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
