"""`kill -9` in a cohort: no metric lost, nothing trained again that a checkpoint has, the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from db import reports, studies, trials
from db.engine import Database
from tests.commands import run, started
from tests.invariants import check_invariants
from tuner import running
from tuner.configuration import Settings
from tuner.databases import find_database
from tuner.definitions.definition import parse
from tuner.reporting.results import study_row

pytestmark = pytest.mark.tensorflow

COUNT = 64
STUDY = {
    "name": "cohort",
    "data": "examples.digits:load",
    "space": {
        "family": "mlp",
        "depth": 1,
        "width": 24,
        # Where a slope jumps, at relu's zero and where L1 meets a weight that changes its sign, rounding alone, which
        # differs with a member's company, makes another trial of it: in the third digit, with L1.
        "activation": "tanh",
        "optimizer": "adam",
        "batch_size": 32,
        "learning_rate": [1e-4, 3e-3],
        "l1": 0.0,
    },
    "sampler": "random",
    "pruner": "none",
    "patience": None,
    "trials": COUNT,
    "cohort": COUNT,
    "epochs": 45,  # of which the kill must come in the midst, however fast the machine is
    "workers": 1,
    "checkpoint_seconds": 0.5,
}


def opened(home: Path) -> Database | None:
    return find_database(Settings.load({}, home=home))


def reported(home: Path) -> int:
    """The epoch that every trial of the cohort has reported."""
    database = opened(home)
    if database is None:
        return 0
    with database, database.read() as s:
        study = studies.find(s, "cohort")
        found = reports.objectives(s, study.id) if study is not None else {}
        return min(map(len, found.values())) if len(found) == COUNT else 0


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.05)


def curves(home: Path) -> dict[int, dict[int, float]]:
    database = opened(home)
    assert database is not None
    with database, database.read() as s:
        return {
            number: dict(curve) for number, curve in reports.objectives(s, study_row(database, "cohort").id).items()
        }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, dict[int, float]]:
    home = tmp_path_factory.mktemp("undisturbed")
    running.run(parse({**STUDY, "checkpoint_seconds": 1000.0}), Settings.load({}, home=home, launcher="inline"))
    return curves(home)


@pytest.mark.parametrize("victim", ["worker", "coordinator"])
def test_a_killed_cohort_resumes_with_every_member_where_it_was(
    victim: str, tmp_path: Path, undisturbed: dict[int, dict[int, float]]
) -> None:
    file = tmp_path / "study.json"
    file.write_text(json.dumps(STUDY))
    with started(tmp_path, "run", str(file), TUNER_WORKERS="1") as process:
        wait_for(lambda: reported(tmp_path) >= 6, process)
        if victim == "worker":
            [child] = psutil.Process(process.pid).children()
            os.kill(child.pid, signal.SIGKILL)
            _, errors = process.communicate(timeout=240)
            assert process.returncode == 0, errors
        else:
            process.kill()
    again = run(tmp_path, "run", str(file), TUNER_WORKERS="1")
    assert again.code == 0, again.err
    database = opened(tmp_path)
    assert database is not None
    with database:
        check_invariants(database, "cohort", str(tmp_path / "artifacts"))
        assert all(begun > 0 for begun in resumed_at(database)), "a member began again at epoch 0"
    assert curves(tmp_path) == {number: pytest.approx(curve, rel=1e-5) for number, curve in undisturbed.items()}


def resumed_at(database: Database) -> list[Any]:
    """The epoch of the checkpoint that each trial's second attempt began with; its reports begin right after it."""
    begun = []
    with database.read() as s:
        for trial in trials.all(s, study_row(database, "cohort").id):
            assert trial.token == 2
            first, second = trials.attempts(s, trial.id)
            assert first.trained == f"in a cohort of {COUNT} (program: mlp, depth 1)"
            epochs = [report.epoch for report in reports.curve(s, trial.id) if report.token == 2]
            assert epochs == list(range((second.resumed_from or 0) + 1, len(epochs) + (second.resumed_from or 0) + 1))
            begun.append(second.resumed_from)
    return begun
