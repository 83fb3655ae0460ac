"""Promoted models: numbers only grow, versions end once, aliases remember where they were."""

from __future__ import annotations

import pytest

from db import models, states
from db.engine import Database, Session
from db.errors import IllegalTransition
from db.tables import Model, ModelVersion
from tests import rows


def ready(s: Session, model: Model, trial: int) -> ModelVersion:
    return models.ready(s, models.reserve(s, model.id, trial, str).id, "5a", {"validation": {"loss": 0.5}})


def test_a_model_is_made_once(database: Database) -> None:
    with database.write() as s:
        first = models.ensure(s, "digits", "/models/digits")
        second = models.ensure(s, "digits", "/elsewhere")
        assert (first.id, second.directory) == (second.id, "/models/digits")
        models.ensure(s, "apples", "/models/apples")
        assert [model.name for model in models.listing(s)] == ["apples", "digits"]
        assert models.find(s, "pears") is None
        found = models.find(s, "digits")
        assert found is not None
        assert found.id == first.id == models.get(s, "digits").id


def test_version_numbers_only_grow(database: Database) -> None:
    with database.write() as s:
        trial = rows.held(s, rows.study(s)).trial
        model = models.ensure(s, "digits", "/models/digits")
        first = models.reserve(s, model.id, trial, lambda number: f"/models/digits/{number}")
        assert (first.number, first.path, first.state) == (1, "/models/digits/1", "staging")
        models.fail(s, first.id, "disk full")
        assert models.reserve(s, model.id, trial, str).number == 2
        assert models.reserve(s, model.id, trial, str, above=7).number == 8
        assert models.reserve(s, model.id, trial, str, above=7).number == 9
        other = models.ensure(s, "other", "/models/other")
        assert models.reserve(s, other.id, trial, str).number == 1


@pytest.mark.parametrize("end", ["ready", "failed"])
def test_a_version_ends_once(database: Database, end: str) -> None:
    with database.write() as s:
        trial = rows.held(s, rows.study(s)).trial
        model = models.ensure(s, "digits", "/models/digits")
        version = models.reserve(s, model.id, trial, str)
        if end == "ready":
            done = models.ready(s, version.id, "5a", {"test": {"loss": float("nan")}})
            assert (done.manifest_sha256, done.reason) == ("5a", None)
        else:
            done = models.fail(s, version.id, "disk full")
            assert (done.manifest_sha256, done.reason, done.scores) == (None, "disk full", {})
        assert done.state == end
        assert end in states.terminal(states.VERSION)
    with pytest.raises(IllegalTransition, match="not staging"), database.write() as s:
        models.ready(s, version.id, "", {})
    with pytest.raises(IllegalTransition, match="not staging"), database.write() as s:
        models.fail(s, version.id, "")
    with database.read() as s:
        assert [row.state for row in models.versions(s, "digits")] == [end]
        assert models.ready_numbers(s, model.id) == ([1] if end == "ready" else [])


def test_versions_know_where_they_come_from(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s, "taxi")
        _, second = rows.held(s, study), rows.held(s, study)
        model = models.ensure(s, "fares", "/models/fares")
        version = ready(s, model, second.trial)
        ready(s, models.ensure(s, "other", "/models/other"), second.trial)
        assert [(row.id, study, number) for row, study, number in models.origins(s, "fares")] == [
            (version.id, "taxi", 1)
        ]


def test_an_alias_points_only_at_what_can_be_served(database: Database) -> None:
    with database.write() as s:
        trial = rows.held(s, rows.study(s)).trial
        model = models.ensure(s, "digits", "/models/digits")
        staging = models.reserve(s, model.id, trial, str)
        assert not models.set_alias(s, model.id, "champion", staging.number)
        assert not models.set_alias(s, model.id, "champion", 99)
        assert models.aliases(s, model.id) == {}
        models.ready(s, staging.id, "5a", {})
        assert models.set_alias(s, model.id, "champion", staging.number)
        assert models.aliases(s, model.id) == {"champion": 1}


def test_an_alias_knows_the_way_back(database: Database) -> None:
    with database.write() as s:
        trial = rows.held(s, rows.study(s)).trial
        model = models.ensure(s, "digits", "/models/digits")
        for _ in range(3):
            ready(s, model, trial)
        assert models.previous(s, model.id, "champion") is None
        for number in (1, 2, 2):
            assert models.set_alias(s, model.id, "champion", number)
        assert models.previous(s, model.id, "champion") == 1
        assert models.set_alias(s, model.id, "challenger", 3)
        assert models.aliases(s, model.id) == {"champion": 2, "challenger": 3}
        assert models.previous(s, model.id, "challenger") is None
        assert models.set_alias(s, model.id, "champion", 3)
        for back in (2, 1):
            assert models.previous(s, model.id, "champion") == back
            assert models.set_alias(s, model.id, "champion", back)
            assert models.aliases(s, model.id)["champion"] == back
        assert models.previous(s, model.id, "champion") is None
