"""Rule 9: the loss without the penalty, against numbers computed by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.tensorflow


def split(model: Any, x: Any, y: Any, weight: Any = None) -> dict[str, float]:
    """The split of one evaluation in batches of 4, the last one smaller."""
    from workers.trials.penalty import PenaltySplit

    watch = PenaltySplit(model)
    total = model.evaluate(x, y, sample_weight=weight, batch_size=4, verbose=0, return_dict=True)["loss"]
    found = watch.take()
    assert total == pytest.approx(found["data_loss"] + found["penalty"], rel=1e-5)
    return found


def squares(model: Any, x: Any, y: Any) -> Any:
    return np.mean((np.asarray(model(x)) - y) ** 2, axis=-1)


@pytest.fixture
def numbers() -> Any:
    random = np.random.default_rng(3)
    return random.normal(size=(10, 3)).astype("float32"), random.normal(size=(10, 2)).astype("float32")


def test_l1_and_l2_of_every_kernel(numbers: Any) -> None:
    import keras

    x, y = numbers
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(5, "tanh", kernel_regularizer=keras.regularizers.L1L2(0.01, 0.1)),
            keras.layers.Dense(2, bias_initializer="ones", bias_regularizer=keras.regularizers.L2(0.5)),
        ]
    )
    model.compile("sgd", "mse")
    kernel, bias = np.asarray(model.layers[0].kernel), np.asarray(model.layers[1].bias)
    penalty = 0.01 * np.abs(kernel).sum() + 0.1 * (kernel**2).sum() + 0.5 * (bias**2).sum()
    found = split(model, x, y)
    assert found["penalty"] == pytest.approx(penalty, rel=1e-5)
    assert found["data_loss"] == pytest.approx(squares(model, x, y).mean(), rel=1e-5)


def test_sample_weights_weigh_the_data_loss_alone(numbers: Any) -> None:
    import keras

    x, y = numbers
    weight = np.linspace(0.0, 2.0, 10).astype("float32")
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2")])
    model.compile("sgd", "mse")
    found = split(model, x, y, weight)
    assert found["penalty"] == pytest.approx(0.01 * (np.asarray(model.layers[0].kernel) ** 2).sum(), rel=1e-5)
    assert found["data_loss"] == pytest.approx((weight * squares(model, x, y)).mean(), rel=1e-5)


def test_several_outputs_with_loss_weights(numbers: Any) -> None:
    import keras

    x, y = numbers
    inputs = keras.Input((3,))
    left = keras.layers.Dense(2, name="left", kernel_regularizer="l1")(inputs)
    model = keras.Model(inputs, {"left": left, "right": keras.layers.Dense(2, name="right")(inputs)})
    model.compile("sgd", {"left": "mse", "right": "mse"}, loss_weights={"left": 1.0, "right": 3.0})
    answers = model(x)
    by_hand = np.mean((np.asarray(answers["left"]) - y) ** 2) + 3 * np.mean((np.asarray(answers["right"]) + y) ** 2)
    found = split(model, x, {"left": y, "right": -y})
    assert found["data_loss"] == pytest.approx(by_hand, rel=1e-5)
    assert found["penalty"] == pytest.approx(0.01 * np.abs(np.asarray(model.get_layer("left").kernel)).sum(), rel=1e-5)


def test_an_activity_regularizer_is_penalty_too(numbers: Any) -> None:
    import keras

    x, y = numbers
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activity_regularizer="l2")])
    model.compile("sgd", "mse")
    answers = np.asarray(model(x))
    per_batch = [
        (0.01 * (answers[i : i + 4] ** 2).sum() / len(answers[i : i + 4]), len(answers[i : i + 4])) for i in (0, 4, 8)
    ]
    found = split(model, x, y)
    assert found["data_loss"] == pytest.approx(squares(model, x, y).mean(), rel=1e-5)
    assert found["penalty"] == pytest.approx(sum(value * rows for value, rows in per_batch) / 10, rel=1e-5)


def test_the_model_keeps_its_metrics_and_its_saved_form(numbers: Any, tmp_path: Any) -> None:
    import keras

    from workers.trials.penalty import PenaltySplit

    x, y = numbers
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_regularizer="l2")])
    model.compile("sgd", "mse", metrics=["mae"])
    PenaltySplit(model)
    model.fit(x, y, verbose=0)
    assert [metric.name for metric in model.metrics] == ["loss", "compile_metrics"]
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras", safe_mode=True)
    np.testing.assert_allclose(again.predict(x, verbose=0), model.predict(x, verbose=0), rtol=1e-6)


def test_nothing_is_said_of_a_loss_that_was_never_computed() -> None:
    import keras

    from workers.trials.penalty import PenaltySplit

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    watch = PenaltySplit(model)
    assert watch.take() == {}
    watch.reset()
    assert watch.take() == {}
