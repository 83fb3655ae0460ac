"""Promotion over real databases and folders. tests/acceptance/test_fault_matrix.py ends it at each of its steps."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

import pytest
from sqlalchemy import select, update

from db import models
from db.engine import Database, Session
from db.errors import DatabaseUnavailable
from db.tables import Model, ModelVersion, Study, Trial, table
from tests import promotions
from tuner import service
from tuner.configuration import Settings
from tuner.errors import InvalidInput, NothingToPromote, PromotionFailed, UnknownName
from tuner.promoting import promotion, publishing, registry, scoring
from tuner.reporting.results import summary


@pytest.fixture(autouse=True)
def _small_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(promotion, "export_model", promotions.fake_export)
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)


@pytest.fixture
def settings(database: Database, database_url: str, tmp_path: Path) -> Settings:
    return promotions.finished_study(database, database_url, tmp_path)


def promote(database: Database, settings: Settings, **options: object) -> promotion.PromotedVersion:
    return promotion.promote(database, settings, "study", name="model", **options)  # type: ignore[arg-type]


def numbers(settings: Settings) -> list[int]:
    return sorted(int(path.name) for path in (settings.models / "model").iterdir() if path.name.isdecimal())


def test_versions_grow_and_rollback_points_back(database: Database, settings: Settings) -> None:
    assert [promote(database, settings).number for _ in range(2)] == [1, 2]
    assert registry.rollback(database, "model") == (2, 1)
    config = (settings.models / "models.config").read_text()
    assert 'key: "champion" value: 1' in config and "versions: 2" in config
    assert promote(database, settings).number == 3


def test_each_rollback_leads_further_back_and_an_alias_anywhere(database: Database, settings: Settings) -> None:
    for _ in range(3):
        promote(database, settings)
    assert registry.rollback(database, "model") == (3, 2)
    assert registry.rollback(database, "model") == (2, 1)
    with pytest.raises(InvalidInput, match=r"none to go back to\. Point it at another one: tuner model alias model"):
        registry.rollback(database, "model")
    assert registry.point(database, "model", 3) == 1
    assert registry.rollback(database, "model") == (3, 1)
    assert registry.point(database, "model", 2, "canary") is None
    config = (settings.models / "models.config").read_text()
    assert 'key: "canary" value: 2' in config and 'key: "champion" value: 1' in config
    said = r"no version 4 that can be served; the newest that can: 3, 2, 1\. List all: tuner model list model"
    with pytest.raises(InvalidInput, match=said):
        registry.point(database, "model", 4)
    with pytest.raises(InvalidInput, match="alias"):
        registry.point(database, "model", 3, "a b")


def test_promotions_of_several_models_at_once_are_all_told_to_the_server(
    database: Database, settings: Settings
) -> None:
    names = [f"model-{place}" for place in range(6)]
    told: list[str] = []

    def one(name: str) -> None:
        told.append(promotion.promote(database, settings, "study", name=name).name)

    threads = [threading.Thread(target=one, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(told) == names
    config = settings.models / "models.config"
    assert all(f'name: "{name}"' in config.read_text() for name in names)
    assert sorted(path.name for path in settings.models.iterdir() if path.is_file()) == [".lock", "models.config"]
    before = config.read_text()
    config.unlink()  # as if it had ended between the alias and the file
    registry.announce(database)
    assert config.read_text() == before


def test_what_an_alias_points_at_already_is_known(database: Database, settings: Settings) -> None:
    assert promotion.standing(database, "study", "model") is None
    first = promote(database, settings)
    assert promotion.standing(database, "study", "model") == first
    assert promotion.standing(database, "study", "model", "canary") is None
    second = promote(database, settings)
    assert promotion.standing(database, "study", "model") == second != first
    with database.write() as s:  # another trial's version
        another = s.scalars(select(Trial.id).where(Trial.number != first.trial)).first()
        s.execute(update(table(ModelVersion)).where(ModelVersion.number == 2).values(trial_id=another))
    assert promotion.standing(database, "study", "model") is None


def test_rollback_without_a_way_back_says_so(database: Database, settings: Settings) -> None:
    promote(database, settings)
    with pytest.raises(InvalidInput, match="points at version 1, and there is none to go back to"):
        registry.rollback(database, "model")
    with pytest.raises(UnknownName, match="Did you mean 'model'"):
        registry.rollback(database, "modle")
    with pytest.raises(UnknownName, match="alias"):
        registry.rollback(database, "model", "challenger")


def test_a_foreign_version_is_never_replaced(database: Database, settings: Settings) -> None:
    foreign = settings.models / "model" / "7"
    foreign.mkdir(parents=True)
    (foreign / "saved_model.pb").write_bytes(b"somebody else's")
    assert promote(database, settings).number == 8
    assert (foreign / "saved_model.pb").read_bytes() == b"somebody else's"


def test_rename_refuses_a_target_that_exists_even_when_it_is_empty(tmp_path: Path) -> None:
    source, target = tmp_path / ".staging-1", tmp_path / "1"
    source.mkdir()
    target.mkdir()
    with pytest.raises(PromotionFailed, match="never replaced"):
        publishing.rename_without_replacing(source, target)
    assert source.exists()


def test_two_promotions_at_once_get_two_versions(database: Database, settings: Settings) -> None:
    found: list[int] = []
    threads = [threading.Thread(target=lambda: found.append(promote(database, settings).number)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == numbers(settings) == [1, 2, 3, 4]


def test_a_refused_model_changes_nothing_for_the_server(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(database, settings)
    before = (settings.models / "models.config").read_text()
    monkeypatch.setattr(promotion, "verify_model", lambda path: ["Its predictions differ."])
    with pytest.raises(PromotionFailed, match="predictions differ"):
        promote(database, settings)
    assert numbers(settings) == [1]
    assert (settings.models / "models.config").read_text() == before
    assert not list((settings.models / "model").glob(".staging*"))


def test_each_reading_of_the_test_part_is_counted(database: Database, settings: Settings) -> None:
    assert [promote(database, settings).scores["test_reads"] for _ in range(2)] == [1, 2]


def test_what_cannot_be_promoted_is_refused_with_a_sentence(database: Database, settings: Settings) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'study'"):
        promotion.promote(database, settings, "studdy")
    with pytest.raises(InvalidInput, match=r"has no trial \d+; it has the trials 0 to 2\."):
        promotion.promote(database, settings, "study", trial=99)
    with pytest.raises(InvalidInput, match="integer"):
        promotion.promote(database, settings, "study", name="12")
    promote(database, settings)
    with pytest.raises(NothingToPromote, match="lives in"):
        promote(database, settings, directory=settings.home / "elsewhere")


def test_the_winner_of_loops_has_the_final_score_that_its_loop_reported(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    settings = promotions.finished_study(database, database_url, tmp_path, loop="tested")
    now = summary(database, "study")
    assert now.final is not None and now.best is not None and now.best.value is not None
    assert (now.final.among, now.final.rows, now.final.flattered) == (3, None, None)
    assert now.final.value == pytest.approx(now.best.value + 0.25)
    assert promote(database, settings).final == now.final == scoring.score(database, settings, "study")


def test_a_final_score_needs_rows_that_chose_nothing_and_a_study_that_is_over(
    database: Database, settings: Settings
) -> None:
    assert promote(database, settings).final is None
    with pytest.raises(InvalidInput, match="its loop reported no metric such as test_loss"):
        scoring.score(database, settings, "study")
    with database.write() as s:
        s.execute(update(table(Study)).values(state="active"))
    with pytest.raises(InvalidInput, match="'study' is active: the test part is read for its winner, once it is over"):
        scoring.score(database, settings, "study")


def test_the_test_part_is_read_once_for_a_score_and_each_time_for_a_promotion(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows of a study of Keras models, made of one of loops: its export is a stand-in here anyway."""
    with database.write() as s:
        row = s.scalars(select(Study)).one()
        keras = {**row.definition, "loop": None, "model": "m:build", "data": {"function": "m:load"}}
        checked = {"data": {"rows": {"train": 60, "validation": 20, "test": 20}}}
        s.execute(update(table(Study)).values(definition=keras, checked=checked))
    errors = {"test": {"loss": 0.01}, "validation": {"loss": 0.01}}
    scores = {"test": {"loss": 0.5}, "standard_errors": errors, "rows": {"test": 20}}
    monkeypatch.setattr(scoring, "score_model", lambda *_: {"scores": scores})
    assert summary(database, "study").final is None
    first = scoring.score(database, settings, "study")
    assert (first.value, first.standard_error, first.rows, first.among) == (0.5, 0.01, 20, 3)
    assert scoring.score(database, settings, "study") == summary(database, "study").final == first
    assert promote(database, settings).scores["test_reads"] == 2


def test_a_service_waits_for_a_database_that_goes_away_before_its_loop(
    database: Database, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listing, asked = models.listing, 0

    def away_once(s: Session) -> list[Model]:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise DatabaseUnavailable("The database went away.")
        signal.raise_signal(signal.SIGTERM)
        return listing(s)

    monkeypatch.setattr(models, "listing", away_once)
    monkeypatch.setattr(service, "connect", lambda _: database)  # which the test closes
    monkeypatch.setattr(service, "PAUSE_SECONDS", 0.0)
    service.serve(Settings.load({}, home=tmp_path, database=database_url, launcher="inline"))
    assert asked == 2
