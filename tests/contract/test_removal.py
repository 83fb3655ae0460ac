"""Deleting a study takes everything of it and nothing else; what no row knows is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from sqlalchemy import func, select

from db import artifacts, events, models, studies
from db.engine import Database
from db.tables import Base, Study
from tests import rows
from tuner.configuration import Settings
from tuner.errors import InvalidInput, UnknownName
from tuner.removal import collect_garbage, delete_study
from workers.artifacts import ArtifactStore


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    return Settings.load({}, home=tmp_path, database=database_url)


def full(database: Database, settings: Settings, name: str) -> rows.Held:
    """A study with a row in every table that a study has rows in, and the bytes of its artifact."""
    store = ArtifactStore(str(settings.artifacts))
    key = f"{name}/trial-000000/attempt-1/epoch-0001"
    sha256, size = store.write(key, {"state.json": b"{}"}, {})
    with database.write() as s:
        held = rows.held(s, rows.study(s, name))
        assert rows.report(s, held, 1, {"loss": 1.0}, 1.0, 0.1)
        assert rows.decide(s, held, 1, "continue", "asha")
        artifacts.add(s, [artifacts.New(held.trial, held.token, "checkpoint", 1, key, sha256, size)])
        events.add(s, "something", study_id=held.study, trial_id=held.trial)
    return held


def counts(database: Database) -> dict[str, int]:
    with database.read() as s:
        return {
            name: s.execute(select(func.count()).select_from(found)).scalar_one()
            for name, found in Base.metadata.tables.items()
        }


def test_a_deleted_study_leaves_no_row_and_no_byte_and_others_keep_theirs(
    database: Database, settings: Settings
) -> None:
    full(database, settings, "kept")
    before = counts(database)
    full(database, settings, "kept-not")
    assert delete_study(database, settings, "kept-not") == ["kept-not/trial-000000/attempt-1/epoch-0001"]
    assert counts(database) == before
    assert ArtifactStore(str(settings.artifacts)).keys() == ["kept/trial-000000/attempt-1/epoch-0001"]
    with pytest.raises(UnknownName, match="'kept'"):
        delete_study(database, settings, "kept-not")
    delete_study(database, settings, "kept")
    assert set(counts(database).values()) == {0}, "its search space is nobody's now"


def test_a_study_that_is_run_or_whose_model_is_promoted_is_not_deleted(database: Database, settings: Settings) -> None:
    held = full(database, settings, "study")
    before = counts(database)
    with database.write() as s:
        term = studies.claim(s, held.study, "host:17:x", 60)
    with pytest.raises(InvalidInput, match=r"is being run by process 17 on host\. .*tuner study cancel study"):
        delete_study(database, settings, "study")
    assert counts(database) == before
    with database.write() as s:
        assert term is not None and studies.release(s, held.study, "host:17:x", term)
        model = models.ensure(s, "fares", "models")
        models.reserve(s, model.id, held.trial, lambda number: f"models/fares/{number}")
    with pytest.raises(InvalidInput, match=re.escape("its trial 0 is version 1 of the model 'fares'")):
        delete_study(database, settings, "study")
    with database.read() as s:
        assert s.scalars(select(Study.name)).all() == ["study"]


def test_garbage_is_what_no_row_knows_of_studies_that_nobody_runs(database: Database, settings: Settings) -> None:
    held = full(database, settings, "running")
    full(database, settings, "idle")
    store = ArtifactStore(str(settings.artifacts))
    for name in ("running", "idle", "forgotten"):
        store.write(f"{name}/trial-000009/attempt-1/epoch-0001", {"state.json": b"{}"}, {})
    with database.write() as s:
        assert studies.claim(s, held.study, "host:17:x", 60)
    garbage = [f"{name}/trial-000009/attempt-1/epoch-0001" for name in ("forgotten", "idle")]
    assert collect_garbage(database, settings, dry_run=True) == garbage
    assert len(store.keys()) == 5, "it was a dry run"
    assert collect_garbage(database, settings, dry_run=False) == garbage
    assert collect_garbage(database, settings, dry_run=False) == []
    assert len(store.keys()) == 3
