"""The code of a study goes with it: from a submitter that shares only the database, to workers that lack its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import code_packages
from db.engine import Database
from tests.invariants import check_invariants
from tuner import running
from tuner.cli.summaries import show_summary
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import parse
from tuner.errors import InvalidStudy
from tuner.payload.user_code import FOLDER, key_of
from tuner.removal import collect_garbage, delete_study
from tuner.reporting.results import summary, trial_results
from tuner.study import Study
from tuner.submission import submit
from workers.artifacts import ArtifactStore
from workers.contract import CheckReport
from workers.launchers import launcher
from workers.launchers.processes import ProcessLauncher

FORM: dict[str, Any] = {
    "name": "packed",
    "loop": "their_loop:train",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "score",
    "sampler": "random",
    "pruner": "none",
    "trials": 6,
    "epochs": 2,
}
LOOP = """
import their_helper

def train(run):
    for epoch in range(run.epoch, run.epochs):
        run.report({"score": their_helper.VALUE})
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The study's folder, with what no other machine has."""
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "their_loop.py").write_text(LOOP)
    (folder / "their_helper.py").write_text("VALUE = 1.0\n")
    return folder


@pytest.fixture
def settings(tmp_path: Path, database_url: str, folder: Path) -> Callable[[str], Settings]:
    """Those of a machine that has its own disk and the database; only "laptop" has the study's folder."""

    def load(machine: str) -> Settings:
        (tmp_path / machine).mkdir(exist_ok=True)
        code = folder if machine == "laptop" else tmp_path / machine
        home = tmp_path / machine / "home"
        return Settings.load({}, home=home, database=database_url, launcher="processes", workers=1, import_paths=[code])

    return load


def run(database: Database, settings: Settings, trials: int) -> None:
    """A coordinator, until so many trials have ended; then it is closed."""
    workers = launcher("processes", workers=1)
    coordinator = Coordinator(database, workers, settings)
    try:
        while len(ended(database)) < trials:
            if not coordinator.step():
                coordinator.wait(0.05)
    finally:
        coordinator.close()
        workers.close()


def ended(database: Database) -> list[float | None]:
    return [trial.value for trial in trial_results(database, "packed") if trial.state == "complete"]


def test_what_was_submitted_counts_whatever_is_edited_later(
    database: Database,
    settings: Callable[[str], Settings],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    laptop, server = settings("laptop"), settings("server")
    study = Study(parse(FORM), laptop).submit()
    (folder / "their_helper.py").write_text("VALUE = 2.0\n")
    run(database, server, trials=2)
    store = ArtifactStore(server.artifacts)
    [key] = store.keys(FOLDER)
    store.remove(key)
    run(database, server, trials=6)  # another coordinator, and the package is there again

    assert ended(database) == [1.0] * 6
    check_invariants(database, "packed", str(server.artifacts))
    now = summary(database, "packed")
    assert now.code is not None and key == key_of(now.code)
    show_summary(now, "table")
    assert f"as it was submitted ({now.code[:12]})" in capsys.readouterr().out
    assert not laptop.artifacts.exists(), "the dry run's package went with it"

    with caplog.at_level(logging.WARNING):
        study.submit()
    assert f"keeps the code that it was submitted with ({now.code[:12]})" in caplog.text
    caplog.clear()
    (folder / "their_helper.py").write_text("VALUE = 1.0\n")
    study.submit()
    assert not caplog.text


def test_what_the_package_lacks_shows_before_the_study_is_accepted(
    database: Database, settings: Callable[[str], Settings], folder: Path
) -> None:
    (folder / "their_helper.py").unlink()
    with pytest.raises(InvalidStudy, match="No module named 'their_helper'"):
        Study(parse(FORM), settings("laptop")).submit()
    with database.read() as s:
        assert code_packages.all_sha256(s) == set()


def test_a_run_packs_only_where_an_address_names_the_cluster(
    database: Database, settings: Callable[[str], Settings], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    laptop = settings("laptop")
    here = parse({**FORM, "name": "here", "trials": 1})
    running.run(here, laptop)
    assert summary(database, "here").code is None
    monkeypatch.setattr(ProcessLauncher, "shared", True, raising=False)
    running.run(parse({**FORM, "trials": 1}), laptop)
    assert summary(database, "packed").code is not None
    assert ended(database) == [1.0]


def test_a_package_goes_with_the_last_study_that_has_it(
    database: Database, settings: Callable[[str], Settings]
) -> None:
    laptop = settings("laptop")
    for name in ("first", "second"):
        submit(parse({**FORM, "name": name}), lambda _: CheckReport(), laptop, pack=True)
    store = ArtifactStore(laptop.artifacts)
    [key] = store.keys(FOLDER)
    forgotten = key_of("0" * 64)
    store.write(forgotten, {"some.zip": b""}, {})

    assert key not in delete_study(database, laptop, "first")
    assert collect_garbage(database, laptop, dry_run=False) == [forgotten]
    assert store.keys(FOLDER) == [key]
    assert key in delete_study(database, laptop, "second")
    assert store.keys(FOLDER) == []
    with database.read() as s:
        assert code_packages.all_sha256(s) == set()
