"""What regularization did to models: read from models of known weights, and told of a study's best ones."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import commands
from tuner import create_study

pytestmark = pytest.mark.tensorflow

CODE = """
import keras, numpy as np

def load():
    random = np.random.default_rng(0)
    x = random.normal(size=(900, 20)).astype("float32")
    y = (x[:, 0] + x[:, 1] > 0).astype("int64")
    return (x[:600], y[:600]), (x[600:], y[600:])

def build(hp):
    hidden = keras.layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L1(hp.Float("sparsity", 0.0, 0.1)))
    model = keras.Sequential([keras.Input((20,)), hidden, keras.layers.Dense(2, "softmax")])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model
"""


def part(rows: int = 200) -> Any:
    from workers.data import Part

    random = np.random.default_rng(1)
    x = random.normal(size=(rows, 4)).astype("float32")
    return Part(x, (x[:, 0] > 0).astype("int64"), rows=rows)


def compiled(model: Any) -> Any:
    model.compile("sgd", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_units_that_say_the_same_for_every_row_are_counted() -> None:
    import keras

    from workers.exporting.regularization import layers_of

    inner = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, "tanh", name="inside")], name="inner")
    x = inputs = keras.Input((4,))
    x = keras.layers.Dense(4, name="outside")(inner(x))
    x = keras.layers.ReLU(name="cut")(x)
    model = compiled(keras.Model(inputs, keras.layers.Dense(2, "softmax", name="last")(keras.layers.Dropout(0.5)(x))))
    model.get_layer("outside").bias.assign([-9.0, 1.0, -9.0, 1.0])
    layers = {layer.name: layer for layer in layers_of(model, part())}
    assert [*layers] == ["inside", "outside", "cut", "last"]  # in order, and none that only drops or takes in
    assert (layers["inside"].units, layers["inside"].constant) == (None, None)
    assert (layers["outside"].units, layers["outside"].constant) == (4, 0)
    assert (layers["cut"].weights, layers["cut"].units, layers["cut"].constant) == (0, 4, 2)
    assert (layers["last"].weights, layers["last"].kernel) == (10, 8)
    kernel = np.array(model.get_layer("last").kernel)
    assert layers["last"].rms == pytest.approx(np.sqrt(np.mean(kernel**2)), rel=1e-6)


def test_layers_of_text_and_layers_that_several_models_share_are_looked_into() -> None:
    """A layer that was adapted to the data is made once, and every `build(hp)` takes it."""
    import keras

    from workers.data import Part
    from workers.exporting.regularization import layers_of

    look_up = keras.layers.StringLookup(vocabulary=["a", "b"], output_mode="one_hot")
    scale = keras.layers.Normalization(mean=0.0, variance=1.0)

    def build(units: int) -> Any:
        word, number = keras.Input((1,), dtype="string", name="word"), keras.Input((1,), name="number")
        both = keras.layers.Concatenate()([look_up(word), scale(number)])
        last = keras.layers.Dense(2, "softmax", name="last")(keras.layers.Dense(units, name="hidden")(both))
        return compiled(keras.Model({"word": word, "number": number}, last))

    earlier, model = build(2), build(3)
    x = {"word": np.array([["a"], ["b"], ["c"]], object), "number": np.ones((3, 1), "float32")}
    layers = {layer.name: layer for layer in layers_of(model, Part(x, np.array([0, 1, 1]), rows=3))}
    assert (layers["hidden"].units, layers["hidden"].constant, earlier.count_params()) == (3, 0, 16)


def test_a_subclassed_model_tells_its_weights_alone() -> None:
    import keras

    from workers.exporting.regularization import layers_of

    class Own(keras.Model):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = keras.layers.Dense(5, "relu"), keras.layers.Dense(2, "softmax")

        def call(self, x: Any) -> Any:
            return self.last(self.first(x))

    model = compiled(Own())
    model(part().x)
    assert [(layer.weights, layer.units) for layer in layers_of(model, part())] == [(25, None), (12, None)]


def test_the_smallest_weights_of_each_kernel_are_zero_in_turn() -> None:
    """Three quarters of the kernel do nothing; with more of it gone the model knows less. Then it is whole again."""
    import keras

    from workers.data import Parts
    from workers.exporting.regularization import SHARES, scored

    model = compiled(keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, "softmax", name="only")]))
    weights = [np.array([[-2.0, 2.0], [0, 0], [0, 0], [0, 0]], "float32"), np.array([0.5, 0.0], "float32")]
    model.set_weights(weights)
    rows = part()
    parts = Parts(rows, rows, None, "classification", 2, None, (4,), None, "")
    found = scored(model, parts)
    losses = {share: scores["data_loss"] for share, scores in found["zeroed"]}
    assert [*losses] == [*SHARES]
    for share, values in losses.items():
        assert (values == losses[0.0]) is (share <= 0.8), share  # of eight weights 80 % are six
    assert sum(losses[0.95]) > 1.5 * sum(losses[0.0])
    assert np.mean(found["training"]["data_loss"]) == pytest.approx(np.mean(losses[0.0]), rel=1e-5)
    assert all((a == b).all() for a, b in zip(model.get_weights(), weights, strict=True))


def test_a_study_tells_what_sparsity_left_of_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A strong L1 penalty leaves few weights that count, and a smaller gap; without one most are needed."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    tuner = commands.in_process(monkeypatch, capfd, tmp_path / "home")
    monkeypatch.setenv("TUNER_IMPORT_PATHS", str(tmp_path))
    (tmp_path / "sparse_models.py").write_text(CODE)
    options: dict[str, Any] = {"enqueue": [{"sparsity": 0.0}, {"sparsity": 0.01}], "trials": 2, "epochs": 12}
    study = create_study("sparse", model="sparse_models:build", data="sparse_models:load", pruner="none", **options)
    study.run(progress=False)
    done = tuner("study", "regularization", "sparse", "--output", "json")
    told = {model["params"]["sparsity"]: model for model in json.loads(done.out)["models"]}
    free, sparse = told[0.0], told[0.01]
    assert sparse["zero"] >= 0.6 > free["zero"]
    assert sparse["rms"] < free["rms"]
    assert (free["penalty"], sparse["penalty"] > 0) == (0.0, True)
    assert sparse["gap"] < free["gap"]
    for model in told.values():
        assert model["validation"] == study.trials[model["trial"]].value
        assert model["gap"] == pytest.approx(model["validation"] - model["training"])
        assert [layer["units"] for layer in model["layers"]] == [16, 2]
    table = tuner("study", "regularization", "sparse", "--trial", "0")
    assert [line.split()[1] for line in table.out.splitlines()[1:3]] == ["Dense", "Dense"]
    assert "The data_loss of trial 0 is" in table.out
