"""The simplest model that is as good as the best one: found on the validation rows, and promoted."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from db.engine import Database
from tests import commands, promotions
from tests.commands import Tuner
from tuner import Study, create_study
from tuner.errors import InvalidInput
from tuner.promoting import promotion
from tuner.promoting.simplest import simplest

CODE = """
import keras, numpy as np

def load():
    random = np.random.default_rng(0)
    x = random.normal(size=(700, 2)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int64")
    return (x[:500], y[:500]), (x[500:], y[500:])

def build(hp):
    def dense(units, activation=None):
        return keras.layers.Dense(units, activation, kernel_initializer=keras.initializers.GlorotUniform(seed=1))
    inputs = keras.Input((2,))
    output = dense(2)(dense(hp.Int("units", 1, 64), "tanh")(inputs))
    if unused := hp.Int("unused", 0, 500):
        output = output + 0.0 * dense(2)(dense(unused)(inputs))
    model = keras.Model(inputs, output)
    model.compile(keras.optimizers.Adam(0.03), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model
"""


@pytest.fixture
def tuner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tuner:
    monkeypatch.setattr(sys, "path", list(sys.path))
    command = commands.in_process(monkeypatch, capfd, tmp_path / "home")
    monkeypatch.setenv("TUNER_IMPORT_PATHS", str(tmp_path))
    return command


@pytest.fixture
def study(tmp_path: Path, tuner: Tuner) -> Study:
    """Trials 0 and 1 compute the same, trial 0 with weights that do nothing; trial 2 is too small for its task."""
    (tmp_path / "razor_models.py").write_text(CODE)
    points = [{"units": 32, "unused": 500}, {"units": 32, "unused": 0}, {"units": 1, "unused": 0}]
    options: dict[str, Any] = {"enqueue": points, "trials": 3, "epochs": 15, "keep": 1, "pruner": "none"}
    study = create_study("study", model="razor_models:build", data="razor_models:load", **options)
    return study.run(progress=False)


@pytest.mark.tensorflow
def test_weights_that_do_nothing_are_cut(study: Study, tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [trial.weights for trial in study.trials] == [162 + 2502, 162, 7]
    found = study.simplest()
    assert (found.trial, found.best) == (1, study.best_trial.number)
    *_, small = found.candidates
    assert (small.trial, small.as_good) == (2, False)
    assert small.worse_by == small.value - study.best_value
    assert 0 < small.standard_error < small.worse_by / 2
    monkeypatch.setattr(promotion, "export_model", promotions.fake_export)
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    done = tuner("model", "promote", "study", "--simplest", "--output", "json")
    assert json.loads(done.out)["trial"] == 1
    assert found.sentence in done.err
    refused = tuner("model", "promote", "study", "--simplest", "--trial", "1")
    assert (refused.code, refused.out) == (2, "") and "give one of them" in refused.err


def test_models_that_nobody_can_compare_are_chosen_by_hand(
    tmp_path: Path, database_url: str, database: Database
) -> None:
    settings = promotions.finished_study(database, database_url, tmp_path)
    with pytest.raises(InvalidInput, match=r"brings its own data.*tuner model promote study --trial N"):
        simplest(database, settings, "study")
