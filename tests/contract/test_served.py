"""What a submission knows of the coordinators that serve its database: what their nodes have, or that none is up."""

from __future__ import annotations

from pathlib import Path

import pytest

from db import coordinators
from db.engine import Database
from tuner.api import Study
from tuner.configuration import Settings
from tuner.coordinator import Coordinator
from tuner.definition import parse
from tuner.errors import InvalidStudy
from workers.launchers import launcher

FORM = {
    "name": "wide",
    "loop": "tests.loops:descent",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "val_loss",
    "trials": 1,
    "epochs": 1,
    "cpus_per_trial": 4096,
}


def test_what_no_node_has_is_refused_while_a_coordinator_is_up(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = Settings.load({}, home=tmp_path, database=database_url, import_paths=str(Path.cwd()))
    study = Study(parse(FORM), settings)
    coordinator = Coordinator(database, launcher("inline"), settings)
    coordinator.step()
    with pytest.raises(InvalidStudy, match=r"4096 CPUs.*the largest has .* Ask for less per trial, or add a node"):
        study.submit()
    assert study.state == "new"
    coordinator.close()
    study.submit()
    assert study.state == "active"
    study.database.close()


def test_a_coordinator_that_was_killed_is_forgotten(database: Database) -> None:
    with database.write() as s:
        coordinators.beat(s, "killed", {"a": {"CPU": 1.0}}, 0.0)
        coordinators.beat(s, "here", {"a": {"CPU": 2.0}}, 600.0)
        coordinators.beat(s, "here", {"a": {"CPU": 3.0}}, 600.0)
    with database.read() as s:
        assert list((coordinators.nodes(s) or {}).values()) == [{"CPU": 3.0}]
    with database.write() as s:
        coordinators.leave(s, "here")
        assert coordinators.nodes(s) is None
