"""What a stack does to weights in one step is what Keras does: optimizers, clipping, schedules, constraints."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.tensorflow

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"momentum": 0.0, "nesterov": False},
    "RMSprop": {"centered": False},
    "Adagrad": {},
    "Adadelta": {},
    "Adam": {"amsgrad": False},
    "AdamW": {"amsgrad": True},
    "Nadam": {},
    "Adamax": {},
    "Ftrl": {"l1_regularization_strength": 1e-2, "beta": 0.1, "l2_shrinkage_regularization_strength": 1e-3},
    "Lion": {},
}
"""By the names of Keras' classes, each with what members may not differ in."""


@pytest.mark.parametrize("name", OPTIMIZERS)
@settings(max_examples=4, deadline=None)
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "learning_rate": st.floats(1e-4, 1e-1),
                "weight_decay": st.floats(0.0, 0.1),
                "momentum": st.floats(0.0, 0.95),
                "rho": st.floats(0.5, 0.99),
                "beta_1": st.floats(0.5, 0.99),
                "beta_2": st.floats(0.9, 0.999),
                "epsilon": st.floats(1e-8, 1e-3),
            }
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
)
def test_every_optimizer_steps_as_keras_does(name: str, rates: list[dict[str, float]], other: bool) -> None:
    """`other`: nesterov, centered or amsgrad, where there is one."""
    import keras
    import tensorflow as tf

    from workers.cohorts.updates import UPDATES, decayed

    fixed = {key: value if not isinstance(value, bool) else other for key, value in OPTIMIZERS[name].items()}
    make = getattr(keras.optimizers, name)
    known = make().get_config().keys()
    own = [{key: value for key, value in rate.items() if key in known} for rate in rates]
    optimizers = [make(**{**fixed, **rate}) for rate in own]
    config = optimizers[0].get_config()
    lifted = {key: tf.constant([[rate[key]] for rate in own], tf.float64) for key in own[0]}
    random = np.random.default_rng(0)
    variables = [keras.Variable(random.normal(size=7).astype("float32")) for _ in own]
    weights = tf.stack([variable.value for variable in variables])
    slots = tuple(tf.stack(slot) for slot in zip(*(UPDATES[name].slots(row, config) for row in weights), strict=True))
    for step in range(4):
        gradients = random.normal(size=weights.shape).astype("float32")
        weights, slots = UPDATES[name].rule(
            decayed(weights, lifted), tf.constant(gradients), slots, {**config, **lifted}, step
        )
        for optimizer, variable, gradient in zip(optimizers, variables, gradients, strict=True):
            optimizer.apply([tf.constant(gradient)], [variable])
    for row, variable in zip(weights.numpy(), variables, strict=True):
        np.testing.assert_allclose(row, variable.numpy(), rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("option", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_gradients_are_clipped_as_keras_clips_them(option: str) -> None:
    """Each member at its own limit; 0 is none, one is far above every gradient."""
    import keras
    import tensorflow as tf

    from workers.cohorts.updates import clipped

    random = np.random.default_rng(1)
    limits = [0.3, 0.0, 50.0, 1.0]
    gradients = random.normal(size=(len(limits), 10)).astype("float32")
    gradients[0, :6] = 0.0  # of a weight that has none
    config = keras.optimizers.SGD().get_config()
    own = {option: tf.constant([[limit] for limit in limits], tf.float64)}
    found = clipped(tf.constant(gradients), {**config, **own}, [6, 4]).numpy()
    for row, ours, limit in zip(gradients, found, limits, strict=True):
        blocks = [tf.constant(row[:6].reshape(2, 3)), tf.constant(row[6:])]
        theirs = keras.optimizers.SGD(**{option: limit})._clip_gradients(blocks)
        np.testing.assert_allclose(ours, np.concatenate([np.ravel(item) for item in theirs]), rtol=1e-6)


def _rates(**others: Any) -> list[dict[str, Any]]:
    return [{"initial_learning_rate": rate, **others} for rate in (0.1, 0.2)]


SCHEDULES: dict[str, list[dict[str, Any]]] = {
    "ExponentialDecay": [
        {"initial_learning_rate": rate, "decay_steps": 7, "decay_rate": decay}
        for rate, decay in ((0.1, 0.9), (0.2, 0.5))
    ],
    "ExponentialDecay by steps": _rates(decay_steps=7, decay_rate=0.5, staircase=True),
    "InverseTimeDecay": [
        {"initial_learning_rate": rate, "decay_steps": 7, "decay_rate": decay}
        for rate, decay in ((0.1, 0.9), (0.2, 0.5))
    ],
    "PolynomialDecay": [
        {"initial_learning_rate": 0.1, "decay_steps": 20, "end_learning_rate": end, "power": power}
        for end, power in ((0.01, 1.0), (0.0, 2.0))
    ],
    "PolynomialDecay in cycles": _rates(decay_steps=7, cycle=True),
    "CosineDecay": [{"initial_learning_rate": 0.1, "decay_steps": 20, "alpha": alpha} for alpha in (0.0, 0.1)],
    "CosineDecay after a warmup": [
        {"initial_learning_rate": rate, "decay_steps": 20, "warmup_target": target, "warmup_steps": 8}
        for rate, target in ((0.1, 0.3), (0.0, 0.2))
    ],
    "CosineDecayRestarts": [
        {"initial_learning_rate": 0.1, "first_decay_steps": 5, "m_mul": less, "alpha": 0.1} for less in (0.9, 0.5)
    ],
    "PiecewiseConstantDecay": [
        {"boundaries": [3, 20], "values": values} for values in ([0.3, 0.2, 0.1], [0.5, 0.5, 0.0])
    ],
}
"""What two members give a schedule whose class is the first word."""


@pytest.mark.parametrize("name", SCHEDULES)
def test_each_member_follows_its_own_schedule(name: str) -> None:
    import keras
    import tensorflow as tf

    from workers.cohorts import optimizers

    kind = getattr(keras.optimizers.schedules, name.split()[0])
    given = [kind(**arguments) for arguments in SCHEDULES[name]]
    made = [keras.optimizers.SGD(schedule, momentum=0.5) for schedule in given]
    for optimizer in made:
        optimizers.require_known(optimizer)
    assert optimizers.rest(made[0]) == optimizers.rest(made[1])
    rows = [optimizers.numbers(optimizer) for optimizer in made]
    own = {key: tf.constant([[row[key]] for row in rows], tf.float64) for key in rows[0]}
    config = made[0].get_config()
    for step in (0, 1, 3, 4, 7, 8, 12, 20, 21, 60):
        at = optimizers.settings_at(config, own, tf.constant(step))
        assert at["learning_rate"].numpy().ravel() == pytest.approx([float(item(step)) for item in given], rel=1e-5)
        assert at["momentum"].numpy().ravel() == pytest.approx([0.5, 0.5])


def test_a_schedule_is_calmed_in_proportion() -> None:
    import keras

    from workers.cohorts import optimizers

    decay = keras.optimizers.schedules.CosineDecay(0.1, 20, 0.5, warmup_target=0.4, warmup_steps=8)
    optimizer = keras.optimizers.SGD(decay, momentum=0.5)
    calm = optimizers.calmed(optimizers.numbers(optimizer), 0.04)
    again = optimizers.learning_rate(optimizer.get_config(), calm)
    assert [float(again(step)) for step in (0, 8, 28)] == pytest.approx([0.01, 0.04, 0.02])
    assert calm["momentum"] == 0.5


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("MaxNorm", [{"max_value": value} for value in (0.5, 1.0, 9.0)]),
        ("MaxNorm", [{"max_value": value, "axis": [0, 1]} for value in (0.5, 1.0, 9.0)]),
        ("MaxNorm", [{"max_value": value, "axis": -1} for value in (0.5, 1.0, 9.0)]),
        ("UnitNorm", [{}] * 3),
        ("NonNeg", [{}] * 3),
        ("MinMaxNorm", [{"min_value": low, "max_value": 3.0, "rate": rate} for low, rate in ((0.5, 1.0), (2.0, 0.3))]),
    ],
)
def test_weights_are_constrained_as_keras_constrains_them(name: str, arguments: list[dict[str, Any]]) -> None:
    import keras
    import tensorflow as tf

    from workers.cohorts.constraints import bounds, constrained

    random = np.random.default_rng(2)
    given = [getattr(keras.constraints, name)(**options) for options in arguments]
    start = random.normal(size=(len(given), 3, 2, 4)).astype("float32")
    start[0, :, :, 0] = 0.0
    variables = []
    for values, constraint in zip(start, given, strict=True):
        free, bound = keras.Variable(np.ones(2, "float32")), keras.Variable(values)
        bound.constraint = constraint
        variables.append([free, bound])
    own = tf.reshape(tf.constant([bounds(pair) for pair in variables], tf.float32), [len(given), -1, 3])
    free, found = constrained(variables[0], [tf.ones([len(given), 2]), tf.constant(start)], own)
    np.testing.assert_array_equal(free.numpy(), np.ones((len(given), 2)))
    for values, constraint, ours in zip(start, given, found.numpy(), strict=True):
        np.testing.assert_allclose(ours, constraint(values), rtol=1e-5, atol=1e-7)
