"""Standard errors against those of per-row losses, and a study whose winner is scored on rows that were held back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from db import events
from db.engine import connect
from tuner import Study, create_study
from tuner.configuration import Settings
from tuner.reporting.final_score import READ

DATA = """
import numpy as np

def load():
    random = np.random.default_rng(0)
    x = random.normal(size=(700, 4)).astype("float32")
    y = (x[:, 0] + random.normal(0, 1.0, 700) > 0).astype("int64")
    return (x[:500], y[:500]), (x[500:], y[500:])
"""


def largest_prediction() -> Any:
    """A metric whose state is no sum."""
    import keras

    class Largest(keras.metrics.Metric):
        def __init__(self) -> None:
            super().__init__(name="largest")
            self.largest = self.add_weight(name="largest", initializer="zeros")

        def update_state(self, y: Any, predicted: Any, sample_weight: Any = None) -> None:
            self.largest.assign(keras.ops.maximum(self.largest, keras.ops.max(predicted)))

        def result(self) -> Any:
            return self.largest

    return Largest()


def per_row(model: Any, x: Any, y: Any) -> tuple[Any, Any]:
    """Cross-entropy and correctness of each row."""
    p = model.predict(x, verbose=0)
    return -np.log(p[np.arange(len(y)), y]), (p.argmax(axis=1) == y).astype(float)


def error_of(values: Any) -> float:
    return float(np.std(values, ddof=1) / np.sqrt(len(values)))


@pytest.mark.tensorflow
def test_standard_errors_are_those_of_the_rows() -> None:
    import keras
    import tensorflow as tf

    from workers.data import Part
    from workers.exporting.scoring import evaluate

    random = np.random.default_rng(3)
    x = random.normal(size=(2000, 4)).astype("float32")
    y = (x[:, 0] + random.normal(0, 1.0, 2000) > 0).astype("int64")
    keras.utils.set_random_seed(0)
    dense = keras.layers.Dense(2, "softmax", kernel_regularizer=keras.regularizers.L2(0.1))
    model = keras.Sequential([keras.Input((4,)), dense])
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"], steps_per_execution=4)
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(40)
    parts = {"few": Part(x[:50], y[:50], rows=50), "many": Part(x, y, rows=2000), "one": Part(x[:1], y[:1], rows=1)}
    scores = evaluate(model, {**parts, "batches": Part(dataset=batches), "none": None})
    assert "notes" not in scores
    errors = scores["standard_errors"]
    losses, right = per_row(model, x, y)
    assert scores["few"]["accuracy"] == pytest.approx(right[:50].mean())
    assert errors["few"]["data_loss"] == pytest.approx(error_of(losses[:50]), rel=1e-3), "a row is a group: exact"
    assert errors["few"]["accuracy"] == pytest.approx(error_of(right[:50]), rel=1e-3)
    for name in ("many", "batches"):  # fifty groups: to within a tenth, give or take
        assert errors[name]["data_loss"] == pytest.approx(error_of(losses), rel=0.35)
        assert errors[name]["accuracy"] == pytest.approx(error_of(right), rel=0.35)
    assert errors["few"]["penalty"] == pytest.approx(0.0, abs=1e-9)
    assert errors["one"] == {}, "one row says nothing about its error"
    assert scores["none"] is None


@pytest.mark.tensorflow
def test_the_error_of_what_is_no_mean_over_rows_is_that_of_the_whole() -> None:
    """A few rows have no AUC: of one class it is 0. What a bootstrap over the rows says is the measure."""
    import keras
    import tensorflow as tf

    from workers.data import Part
    from workers.exporting.scoring import evaluate

    random = np.random.default_rng(5)
    x = random.normal(size=(600, 2)).astype("float32")
    y = (x[:, 0] + random.normal(0, 0.7, 600) > 1.2).astype("float32")
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1, "sigmoid")])
    names = ["auc", "recall", "rmse", "accuracy"]
    metrics = [keras.metrics.AUC(name="auc"), keras.metrics.Recall(name="recall")]
    metrics += [keras.metrics.RootMeanSquaredError(name="rmse"), largest_prediction(), "accuracy"]
    model.compile("sgd", "binary_crossentropy", metrics=metrics)
    model.set_weights([np.array([[2.0], [0.0]], "float32"), np.array([-1.5], "float32")])
    batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(5)  # more than there are groups
    scores = evaluate(model, {"rows": Part(x, y, rows=600), "batches": Part(dataset=batches)})
    assert "notes" not in scores
    found = []
    for _ in range(60):
        chosen = random.integers(0, 600, 600)
        found.append(model.evaluate(x[chosen], y[chosen], batch_size=600, verbose=0, return_dict=True))
    for name in names:
        expected = np.std([each[name] for each in found], ddof=1)
        for part in ("rows", "batches"):
            assert scores["standard_errors"][part][name] == pytest.approx(expected, rel=0.35), (part, name)
    assert 0 < scores["standard_errors"]["rows"]["largest"] < 0.1  # that of the groups' own


@pytest.mark.tensorflow
def test_models_are_compared_on_the_same_rows_whatever_order_a_dataset_gives() -> None:
    import keras
    import tensorflow as tf

    from workers.data import Part
    from workers.exporting.group_scores import GroupScores, Scorer, score_groups
    from workers.trials.penalty import PenaltySplit

    random = np.random.default_rng(3)
    x, y = random.normal(size=(200, 4)).astype("float32"), random.normal(size=200).astype("float32")
    shuffled = tf.data.Dataset.from_tensor_slices((x, y)).shuffle(200, reshuffle_each_iteration=True).batch(20)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    scores = [GroupScores(Scorer(model, PenaltySplit(model))) for _ in range(2)]
    one, other = score_groups(scores, Part(dataset=shuffled))
    assert one["data_loss"] == other["data_loss"]
    assert len(set(one["data_loss"])) == 10


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "held_back_data.py").write_text(DATA)
    settings = Settings.load({}, home=tmp_path / "home", import_paths=str(tmp_path), launcher="inline")
    return create_study(
        "study",
        data={"function": "held_back_data:load", "held_back": 0.5},
        space={"family": "mlp", "depth": 1, "width": [2, 8]},
        settings=settings,
        objective="val_accuracy",
        trials=8,
        repeats=2,
        cohort=4,
        epochs=3,
    )


@pytest.mark.tensorflow
def test_the_winner_is_scored_on_validation_rows_that_were_held_back(study: Study) -> None:
    """A cohort with repeats. Its promotion, and the score that this brings, are in tests/acceptance/test_readme.py."""
    study.run(progress=False)
    before = study.summary()
    assert (before.final, before.no_test_part) == (None, None)
    found = study.final_score()
    assert (found.rows, found.among, found.objective) == (100, 4, "val_accuracy")
    assert found.standard_error == pytest.approx((found.value * (1 - found.value) / 100) ** 0.5, rel=0.4)
    assert found.chosen_by == study.best_trial.value
    assert study.final_score() == study.summary().final == found
    with connect(study.settings.database) as database, database.read() as s:
        assert events.count(s, READ, study_id=1) == 1, "asked again, it was read again"
    best = study.best_configuration
    assert best.standard_error is not None and study.best_value == best.value
    frame = study.trials_dataframe().groupby("configuration").value.agg(["mean", "sem"])
    assert frame["mean"].max() >= best.value
    assert frame["sem"][best.number] == pytest.approx(best.standard_error)
