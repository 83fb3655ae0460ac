"""`kill -9` of the coordinator at each of its transitions: nothing lost, nothing twice, the same proposals."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from db import trials
from db.engine import Database
from tests.invariants import check_invariants
from tuner.results import study_row

STUDY = {
    "name": "faulty",
    "loop": "tests.loops:descent",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}, "l2": {"type": "lambda", "low": 1e-6, "high": 1e-1}},
    "objective": "val_loss",
    "trials": 14,
    "epochs": 9,
    "workers": 1,
    "checkpoint_seconds": 0.001,
    "pruner": "asha",
    "seed": 3,
}

POINTS = [
    "study_committed=kill",
    "claimed=kill",
    "asked:5=kill",
    "trials_committed:5=kill",
    "trials_committed:5=raise",
    "dispatched:5=kill",
    "reports_received:5=kill",
    "before_commit:5=kill",
    "before_commit:5=raise",
    "reports_committed:5=kill",
    "reports_committed:5=raise",
    "decided:5=kill",
    "study_finished=kill",
]


def tuner(home: Path, url: str, *arguments: str, failpoint: str = "") -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "TUNER_HOME": str(home),
        "TUNER_DATABASE": url,
        "TUNER_LAUNCHER": "processes",
        "TUNER_WORKERS": "1",
        "FAILPOINT": failpoint,
    }
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)


def history(database: Database) -> list[tuple[dict[str, Any], str, float | None]]:
    with database.read() as s:
        study = study_row(database, "faulty")
        return [(trial.params, trial.state, trial.value) for trial in trials.all(s, study.id)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    home = tmp_path_factory.mktemp("undisturbed")
    file = home / "study.json"
    file.write_text(json.dumps(STUDY))
    url = f"sqlite:///{home}/ockham.db"
    done = tuner(home, url, "run", str(file))
    assert done.returncode == 0, done.stderr
    listed = tuner(home, url, "trial", "list", "faulty", "--output", "json")
    return [[trial["params"], trial["state"], trial["value"]] for trial in json.loads(listed.stdout)]


@pytest.mark.parametrize("point", POINTS)
def test_a_killed_coordinator_resumes_as_if_nothing_had_happened(
    point: str, database: Database, database_url: str, undisturbed: list[list[Any]], tmp_path: Path
) -> None:
    file = tmp_path / "study.json"
    file.write_text(json.dumps(STUDY))
    first = tuner(tmp_path, database_url, "run", str(file), failpoint=point)
    assert first.returncode != 0, "the fault was never reached"
    second = tuner(tmp_path, database_url, "run", str(file))
    assert second.returncode == 0, second.stderr
    check_invariants(database, "faulty", str(tmp_path / "artifacts"))
    assert [list(item) for item in history(database)] == undisturbed
