"""A promotion that trains the winner again on all rows but the test part."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete

from db.engine import Database
from db.tables import Artifact
from tests import promotions
from tests.trained import cohort_training, saved_weights
from tests.trained import finished as finished_trial
from tuner import Study, create_study
from tuner.configuration import Settings
from tuner.errors import InvalidInput, NothingToPromote, PromotionFailed
from tuner.promoting import promotion
from workers.artifacts import ArtifactStore
from workers.contract import Assignment, Member, Training
from workers.worker import Turns

CODE = """
import keras, keras_tuner, numpy as np

def rows(kind, count):
    x = np.zeros((count, 2), "float32")
    x[:, kind] = 1.0
    return x, np.full(count, kind, "int64")

def load():
    test = tuple(np.concatenate(arrays) for arrays in zip(rows(0, 60), rows(1, 60)))
    return rows(0, 80), rows(1, 80), test

def whole():
    train, validation, _ = load()
    return tuple(np.concatenate(arrays) for arrays in zip(train, validation)), validation

def untested():
    return load()[:2]

def build(hp):
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid", use_bias=False)])
    model.compile(keras.optimizers.SGD(hp.Choice("rate", [2.0])), "binary_crossentropy", metrics=["accuracy"])
    return model

class OwnFit(keras_tuner.HyperModel):
    def build(self, hp):
        return build(hp)
    def fit(self, hp, model, *args, **kwargs):
        return model.fit(*args, **kwargs)
"""


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    (tmp_path / "refit_models.py").write_text(CODE)
    return Settings.load({}, home=tmp_path / "home", import_paths=str(tmp_path), launcher="inline")


def finished(settings: Settings, model: str = "build", data: str = "load") -> Study:
    form: dict[str, Any] = {"model": f"refit_models:{model}", "data": f"refit_models:{data}"}
    study = create_study("study", settings=settings, trials=1, epochs=2, **form)
    return study.run(progress=False)


@pytest.mark.tensorflow
def test_the_winner_learns_from_the_validation_rows_too(settings: Settings) -> None:
    """Half of the test rows are of a kind that only the validation part has."""
    study = finished(settings)
    version = study.promote("all", refit=True)
    assert version.scores["test"]["accuracy"] == 1.0
    assert version.scores["refit"] == {"epochs": study.best_trial.best_epoch, "rows": 160}
    assert version.scores["validation"] is None, "it has been trained on these rows"
    assert version.final is not None
    assert (version.final.value, version.final.flattered) == (version.scores["test"]["data_loss"], None)
    assert "; trained again on all rows, the model has" in version.final.sentence
    assert study.summary().final is None, "what a refit scores says nothing of the model that was chosen"
    chosen = study.promote("chosen")
    assert chosen.scores["test"]["accuracy"] == pytest.approx(0.5)
    assert chosen.scores["test_reads"] == 2
    assert study.summary().final == chosen.final != version.final


@pytest.mark.tensorflow
def test_a_trial_whose_model_is_gone_is_trained_again(settings: Settings) -> None:
    study = finished(settings)
    kept = study.promote("kept", refit=True)
    with study.database.write() as s:
        s.execute(delete(Artifact))
    ArtifactStore(str(settings.artifacts)).remove("study")
    with pytest.raises(NothingToPromote, match=r"was not kept.* tuner model promote study --trial 0 --refit$"):
        study.promote()
    gone = study.promote("gone", refit=True)
    assert gone.scores["refit"] == kept.scores["refit"]
    assert gone.scores["test"] == kept.scores["test"]


@pytest.mark.tensorflow
def test_it_is_trained_as_a_trial_with_all_rows_is(settings: Settings) -> None:
    """Parameters, seed, order of the batches and number of epochs: else its weights would be others."""
    from workers.data import load
    from workers.exporting.refit import refitted, together

    def training(data: str) -> Training:
        folder, model = settings.import_paths[0], "refit_models:build"
        return cohort_training(model, f"refit_models:{data}", settings.artifacts, folder, epochs=3)

    point = {"rate": 2.0}
    whole = training("whole")
    trained = finished_trial(Turns(Assignment("a", whole, (Member(0, 1, point, 7),))), 3)
    [expected] = saved_weights(whole, [point], trained).values()
    assert trained.ended[0].best_epoch == 3
    parts = load({"function": "refit_models:load"}, settings.import_paths)
    rows = together(parts.train, parts.validation)
    again = refitted(training("load"), {"params": point, "seed": 7}, parts, rows, 3).get_weights()
    for weight, wanted in zip(again, expected, strict=True):
        np.testing.assert_allclose(weight, wanted, rtol=1e-6)


@pytest.mark.tensorflow
def test_what_nobody_else_can_train_is_refused(settings: Settings) -> None:
    study = finished(settings, "OwnFit")
    with pytest.raises(PromotionFailed, match="HyperModel has a fit of its own"):
        study.promote(refit=True)
    assert not list((settings.models / "study").glob("[0-9]*"))


@pytest.mark.tensorflow
def test_without_a_test_part_nothing_would_say_how_good_it_is(settings: Settings) -> None:
    with pytest.raises(InvalidInput, match=r"how good .* once it has seen all rows: .*data\.held_back"):
        finished(settings, data="untested").promote(refit=True)


def test_a_loop_is_refused(tmp_path: Path, database_url: str, database: Database) -> None:
    settings = promotions.finished_study(database, database_url, tmp_path)
    with pytest.raises(InvalidInput, match=r"loop of study 'study' trains by itself"):
        promotion.promote(database, settings, "study", refit=True)


@pytest.mark.tensorflow
def test_the_rows_of_both_parts_go_together() -> None:
    import tensorflow as tf

    from workers.data import Part
    from workers.exporting.refit import RefitRefused, together

    def part(first: int, **changes: Any) -> Part:
        x = {"a": np.arange(first, first + 3), "b": np.ones((3, 2))}
        return Part(x, np.arange(first, first + 3), rows=3, **changes)

    plain = together(part(0), part(3))
    assert (list(plain.x["a"]), plain.x["b"].shape, list(plain.y)) == ([*range(6)], (6, 2), [*range(6)])
    assert (plain.weight, plain.rows) == (None, 6)
    weighted = together(part(0, weight=np.full(3, 0.5, "float32")), part(3))
    assert np.asarray(weighted.weight).tolist() == [0.5, 0.5, 0.5, 1.0, 1.0, 1.0]
    batches = [Part(dataset=tf.data.Dataset.range(count).batch(2), rows=count) for count in (4, 2)]
    joined = together(*batches)
    assert ([list(batch.numpy()) for batch in joined.dataset], joined.rows) == ([[0, 1], [2, 3], [0, 1]], 6)
    with pytest.raises(RefitRefused, match="do not go together"):
        together(part(0), Part(np.ones((3, 2)), np.ones(3)))
