"""The matrix that models are trained on and the model that is served agree, since the same layers make both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.data import DataError, Parts, load
from workers.data.arrays import parts_from
from workers.data.options import Options

pytestmark = pytest.mark.tensorflow

ROWS = 90


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    import pandas as pd

    random = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "Miles run": random.gamma(2.0, 50.0, ROWS),
            "floor": random.integers(1, 9, ROWS),
            "city": random.choice(["Rom", "Köln", "[UNK]", ""], ROWS),
            "wing": random.choice([-1, 4, 7], ROWS),
            "paid": random.random(ROWS) < 0.5,
            "price": random.normal(size=ROWS),
        }
    )
    frame.loc[::7, "Miles run"] = None
    frame.to_csv(tmp_path / "homes.csv", index=False)
    return load({"path": str(tmp_path / "homes.csv"), "target": "price", "categories": ["wing"]})


def served(parts: Parts, part: Any) -> dict[str, Any]:
    """Raw columns by input name, as a client sends them."""
    import tensorflow as tf

    state: dict[str, Any] = parts.preprocessing or {}
    return {entry["input"]: tf.convert_to_tensor(part.columns[entry["name"]]) for entry in state["columns"]}


def test_matrix_is_scaled_and_one_hot(parts: Parts) -> None:
    matrix = parts.train.x
    assert matrix.dtype == np.float32
    assert matrix.shape == (54, *parts.input_shape)
    assert parts.train.x is matrix
    columns = parts.train.columns or {}
    miles = columns["Miles run"]
    expected = (miles - np.nanmean(miles)) / np.nanstd(miles)
    np.testing.assert_allclose(matrix[:, 0], np.where(np.isnan(miles), 0.0, expected), atol=1e-5)
    np.testing.assert_allclose(matrix[:, 1].mean(), 0.0, atol=1e-5)
    np.testing.assert_allclose(matrix[:, 1].std(), 1.0, atol=1e-5)
    assert set(np.unique(matrix[:, 2:])) == {0.0, 1.0}
    state: dict[str, Any] = parts.preprocessing or {}
    city = next(entry for entry in state["columns"] if entry["name"] == "city")
    assert city["vocabulary"] == ["Köln", "Rom", "[UNK]"]
    block = matrix[:, 2:6]
    np.testing.assert_array_equal(block.sum(axis=1), np.ones(54))
    np.testing.assert_array_equal(block[:, 0] == 1, columns["city"] == "")
    np.testing.assert_array_equal(block[:, 2] == 1, columns["city"] == "Rom")


def test_matrix_and_model_equal_the_served_model_on_raw_columns(parts: Parts) -> None:
    import keras

    from workers.data.preprocessing import servable

    core = keras.Sequential([keras.Input(parts.input_shape), keras.layers.Dense(8, "tanh"), keras.layers.Dense(2)])
    model = servable(core, parts.preprocessing or {})
    assert {tensor.name: tuple(tensor.shape) for tensor in model.inputs} == {
        "Miles_run": (None,),
        "floor": (None,),
        "city": (None,),
        "wing": (None,),
        "paid": (None,),
    }
    for part in (parts.train, parts.validation, parts.test):
        assert part is not None
        np.testing.assert_array_equal(model(served(parts, part)), core(part.x))


def test_unseen_and_missing_values_take_the_place_in_front(parts: Parts) -> None:
    from workers.data.preprocessing import encode

    state: dict[str, Any] = parts.preprocessing or {}
    columns = {
        "Miles run": np.array([np.nan, 0.0], np.float32),
        "floor": np.array([3, 3]),  # whole numbers where the model takes float32
        "city": np.array(["Paris", ""], dtype=object),
        "wing": np.array([5, -2], np.int64),
        "paid": np.array([True, False]),
    }
    columns["floor"] = columns["floor"].astype(np.float32)
    matrix = encode(columns, state)
    assert matrix[0, 0] == 0.0
    np.testing.assert_array_equal(matrix[:, 2:6], [[1, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(matrix[:, 6:10], [[1, 0, 0, 0]] * 2)
    np.testing.assert_array_equal(matrix[:, 10:], [[0, 0, 1], [0, 1, 0]])


def test_many_rows_are_encoded_in_chunks(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.data import preprocessing

    monkeypatch.setattr(preprocessing, "CHUNK", 7)
    again = preprocessing.encode(parts.train.columns or {}, parts.preprocessing or {})
    np.testing.assert_array_equal(again, parts.train.x)


def test_datasets() -> None:
    import tensorflow as tf

    x, y = np.zeros((70, 3), np.float32), np.arange(70) % 5

    def dataset(rows: int) -> Any:
        return tf.data.Dataset.from_tensor_slices((x[:rows], y[:rows])).batch(32)

    options = Options.parse({"function": "data:load"})
    [found] = parts_from((dataset(70), dataset(20)), options, "data:load")
    assert (found.task, found.classes, found.input_shape) == ("classification", 5, (3,))
    assert found.rows["train"] == 70
    assert found.test is None
    assert found.train.x is None
    numbers = dataset(70).map(lambda a, b: (a, tf.cast(b, tf.float32)))
    assert parts_from({"train": numbers, "validation": numbers}, options, "data:load")[0].task == "regression"
    mistakes = {
        "a single dataset": dataset(70),
        "is empty": (dataset(70), dataset(20).take(0)),
        "never ends": (dataset(70).repeat(), dataset(20)),
        "single rows": (dataset(70).unbatch(), dataset(20)),
        "yields TensorSpec": (dataset(70).map(lambda *row: row[0]), dataset(20)),
        "mixed datasets and arrays": (dataset(70), (x, y)),
        "mixed datasets and": (dataset(70), y),
    }
    for sentence, value in mistakes.items():
        with pytest.raises(DataError, match=sentence):
            parts_from(value, options, "data:load")
