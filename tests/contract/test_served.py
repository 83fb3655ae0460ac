"""What a submission knows of the coordinators that serve its database: what their nodes have, or that none is up."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from db import coordinators
from db.engine import Database
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.databases import open_database
from tuner.definitions.definition import parse
from tuner.errors import InvalidStudy
from tuner.study import Study
from workers.contract import Launcher
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


@pytest.mark.ray
def test_gpus_that_no_node_has_are_refused_and_a_share_of_one_is_not(ray_launcher: Launcher, tmp_path: Path) -> None:
    """Ray is told of a card that is not there: what it counts is what a submission is told."""
    settings = Settings.load({}, home=tmp_path, import_paths=str(Path.cwd()))
    with open_database(settings) as database:
        coordinator = Coordinator(database, ray_launcher, settings)
        coordinator.step()
        two = Study(parse({**FORM, "cpus_per_trial": 1, "gpus_per_trial": 2}), settings)
        with pytest.raises(InvalidStudy, match=r"asks for 1 CPUs and 2 GPUs, .* the largest has \d+ CPUs and 1 GPUs\."):
            two.submit()
        assert two.state == "new"
        half = Study(parse({**FORM, "name": "half", "cpus_per_trial": 1, "gpus_per_trial": 0.5}), settings).submit()
        end = time.monotonic() + 120
        while half.state != "finished":
            assert time.monotonic() < end, half.summary()
            if not coordinator.step():
                coordinator.wait(0.1)
        assert half.summary().counts == {"complete": 1}
        one = Study(parse({**FORM, "name": "one", "cpus_per_trial": 1, "gpus_per_trial": 1}), settings).submit()
        assert one.state == "active"
        coordinator.close()
        for study in (two, half, one):
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
