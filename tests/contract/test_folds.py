"""Trials whose rows validate in turn: together as alone, and a study of a table from its rows to a promoted model."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests import promotions
from tests.trained import cohort_training, curves, finished, members_of, saved_weights
from tuner import Study, create_study
from tuner.configuration import Settings
from tuner.promoting import promotion
from workers.contract import Assignment
from workers.worker import Together, Turns

pytestmark = pytest.mark.tensorflow

POINT = {"depth": 1, "width": 8, "activation": "tanh", "optimizer": "adam", "batch_size": 32}


def test_members_of_each_fold_are_trained_as_if_they_were_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    base = cohort_training("mlp", "keras_models:blobs", tmp_path, str(Path(__file__).parent), epochs=3)
    training = replace(base, data={"function": "keras_models:blobs", "folds": 3})
    points = [{**POINT, "learning_rate": rate} for rate in (0.01, 0.02) for _ in range(3)]
    together = finished(Together(Assignment("together", training, members_of(points))), 3)
    four = finished(Together(Assignment("four", training, members_of(points[:4]))), 3)
    only = "alone (program: mlp, depth 1): the only trial of its structure and fold in its assignment"
    assert {said.trial: said.how for said in four.trained if said.trial in (1, 2)} == {1: only, 2: only}
    alone = finished(Turns(Assignment("alone", training, members_of(points))), 3)
    assert {said.how for said in together.trained} == {"in a cohort of 2 (program: mlp, depth 1)"}
    assert curves(together).keys() == curves(alone).keys()
    for key, metrics in curves(alone).items():
        assert curves(together)[key] == pytest.approx(metrics, rel=2e-5, abs=2e-6), key
    ours, theirs = (saved_weights(training, points, events) for events in (together, alone))
    for trial, arrays in theirs.items():
        for one, other in zip(ours[trial], arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-5)


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    """Of a table in which one kind occurs in one row only, so that the inputs of one fold have a column less."""
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    random = np.random.default_rng(1)
    x = random.normal(size=(303, 2))
    y = x[:, 0] - 2 * x[:, 1] + random.normal(0, 0.3, 303)
    kinds = ["rare", *("ab"[number % 2] for number in range(302))]
    lines = [f"{one:.4f},{two:.4f},{kind},{target:.4f}" for (one, two), kind, target in zip(x, kinds, y, strict=True)]
    (tmp_path / "rows.csv").write_text("\n".join(["one,two,kind,y", *lines]) + "\n")
    settings = Settings.load({}, home=tmp_path / "home", launcher="inline")
    points = [
        {**POINT, "width": width, "learning_rate": 0.02, "l1": 0.0, "l2": 0.0, "dropout": 0.0} for width in (8, 1)
    ]
    return create_study(
        "folded",
        data={"path": str(tmp_path / "rows.csv"), "target": "y", "folds": 3},
        space={"family": "mlp", "depth": 1, "width": [1, 8]},
        enqueue=points,
        trials=6,
        epochs=6,
        pruner="none",
        settings=settings,
    ).run(progress=False)


def test_a_study_of_folds_is_ranked_compared_and_promoted_by_them(study: Study) -> None:
    best, other = sorted(study.configurations, key=lambda item: item.value or 0.0)
    assert [len(item.trials) for item in study.configurations] == [3, 3]
    assert study.best_configuration == best
    assert len({trial.weights for trial in study.trials if trial.number in best.trials}) == 2, "all folds look alike"
    values = {trial.number: trial.value or 0.0 for trial in study.trials}
    differences = [values[one] - values[two] for one, two in zip(other.trials, best.trials, strict=True)]
    *_, small = study.simplest().candidates
    assert best.trials == (0, 1, 2)
    assert small.value == pytest.approx(other.value)
    assert small.worse_by == pytest.approx(np.mean(differences))
    assert small.standard_error == pytest.approx(np.std(differences, ddof=1) / 3**0.5)
    version = study.promote("folded")
    assert version.final is not None and version.trial == study.best_trial.number
    assert (version.final.chosen_by, version.final.rows) == (best.value, 60)
    assert "over 3 folds, which chose it among 2" in version.final.sentence
    again = study.promote("folded", refit=True)
    epochs = [trial.best_epoch for trial in study.trials if trial.number in best.trials]
    assert again.scores["refit"] == {"epochs": sorted(epochs, key=lambda epoch: epoch or 0)[1], "rows": 303 - 60}
