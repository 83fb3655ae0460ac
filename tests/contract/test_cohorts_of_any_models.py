"""Models that are made up, of all that stacks claim to know: a cohort's members equal Keras' own `fit`, one by one."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.trained import cohort_training, curves, finished, members_of
from workers.contract import Assignment, Member, Training

pytestmark = pytest.mark.tensorflow

EPOCHS = 2
HERE = str(Path(__file__).parent)
BLOCKS = (
    "relu", "batch_normalization", "dropout", "layer_normalization", "gaussian_noise", "prelu", "tanh",
    "gaussian_dropout", "gelu",
)  # fmt: skip
DATA = {
    "rows": ("keras_models:weighted", "keras_models:blobs"),
    "picture": ("keras_models:weighted", "keras_models:blobs"),
    "sequence": ("keras_models:weighted", "keras_models:blobs"),
    "words": ("cohort_models:words",),
    "wide": ("cohort_models:halves",),
}
"""By the kind of input, the functions that give such data; 90 rows, in batches of 48 or 60 with a partial last one."""

BETAS = ("beta_1", "beta_2", "epsilon")
OPTIMIZERS: dict[str, tuple[Sequence[str], dict[str, Sequence[Any]]]] = {
    "Adam": (BETAS, {"amsgrad": (True, False)}),
    "SGD": (("momentum",), {"nesterov": (True, False)}),
    "RMSprop": (("rho", "momentum", "epsilon"), {"centered": (True, False)}),
    "Nadam": (BETAS, {}),
    "AdamW": (BETAS, {"amsgrad": (False, True)}),
    "Adagrad": (("epsilon",), {}),
    "Ftrl": ((), {"l1_regularization_strength": (1e-3, 0.0), "beta": (0.1, 0.0)}),
    "Adamax": (BETAS, {}),
    "Lion": (BETAS[:2], {}),
    "Adadelta": (("rho", "epsilon"), {}),
}
"""By the names of Keras' classes, what members may and may not differ in; of the latter the values."""

NUMBERS = {
    "learning_rate": (1e-3, 2e-2),
    "weight_decay": (0.0, 0.1),
    "momentum": (0.0, 0.9),
    "rho": (0.8, 0.99),
    "beta_1": (0.5, 0.95),
    "beta_2": (0.9, 0.999),
    "epsilon": (1e-7, 1e-3),
    "clipnorm": (0.05, 0.5),
    "global_clipnorm": (0.1, 1.0),
    "clipvalue": (0.01, 0.1),
}
"""What members may differ in of an optimizer, and between which values."""

OTHERS = {"l1": (0.0, 1e-2), "l2": (0.0, 0.1), "noise": (0.0, 0.5), "bound": (0.5, 2.0)}
"""What members may differ in of layers."""

CLIPS = ("clipnorm", "global_clipnorm", "clipvalue")

SCHEDULES: dict[str, dict[str, Any]] = {
    "ExponentialDecay": {"decay_steps": 2, "decay_rate": 0.8},
    "CosineDecay": {"decay_steps": 4, "alpha": 0.1, "warmup_target": 0.02, "warmup_steps": 2},
    "PolynomialDecay": {"decay_steps": 3, "power": 2.0, "cycle": True},
    "InverseTimeDecay": {"decay_steps": 2, "decay_rate": 0.5, "staircase": True},
    "CosineDecayRestarts": {"first_decay_steps": 2},
}
"""By the names of Keras' classes, what is given beside the initial rate."""

CONSTRAINTS = ("MaxNorm", "UnitNorm", "NonNeg", "MinMaxNorm")


@st.composite
def trials(draw: st.DrawFn, kind: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of a data function, and the parameters of two trials of one model, which differ in every number."""
    turn = list(DATA).index(kind)  # hypothesis begins with what stands first: not with the same for every kind

    def one(values: Iterable[Any]) -> Any:
        options = list(values)
        return draw(st.sampled_from(options[turn % len(options) :] + options[: turn % len(options)]))

    optimizer = "SGD" if kind == "words" else one(OPTIMIZERS)
    own, fixed = OPTIMIZERS[optimizer]
    clip = None if kind == "words" else one((*CLIPS, None))
    optional = [name for name in ("weight_decay", *own) if draw(st.booleans())]
    numbers = ["learning_rate", *optional, *filter(None, [clip])]
    recipe = {
        "kind": kind,
        "blocks": [one(BLOCKS) for _ in range(draw(st.integers(2, 3)))],
        "sequential": draw(st.booleans()),
        "optimizer": optimizer,
        "options": {name: one(values) for name, values in fixed.items()},
        "numbers": numbers,
        "schedule": one((*SCHEDULES.items(), None)),
        "constraint": one((*CONSTRAINTS, None)),
        "active": one((True, False)),
    }
    shared = {"recipe": recipe, "batch_size": draw(st.sampled_from([48, 60]))}
    shares = {name: draw(st.floats(0.0, 1.0)) for name in (*numbers, *OTHERS)}
    return one(DATA[kind]), [{**shared, **_between(shares, step)} for step in (0.0, 0.5)]


def _between(shares: dict[str, float], step: float) -> dict[str, float]:
    """Each number as far between its ends as its share says, moved on by `step` and around."""
    ends = {**NUMBERS, **OTHERS}
    return {
        name: ends[name][0] + (share + step) % 1.0 * (ends[name][1] - ends[name][0]) for name, share in shares.items()
    }


@pytest.mark.parametrize(
    ("kind", "examples"), [("rows", 3), ("wide", 2), ("picture", 1), ("sequence", 1), ("words", 1)]
)
def test_members_equal_keras(
    kind: str, examples: int, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An example costs 3 CPU-seconds, mostly of tracing: each is drawn once, and none is made smaller."""
    monkeypatch.setattr(sys, "path", [HERE, *sys.path])

    @settings(max_examples=examples, deadline=None, derandomize=True, phases=[Phase.generate])
    @given(trials(kind))
    def equal(made: tuple[str, list[dict[str, Any]]]) -> None:
        function, points = made
        assert_equal(training_on(function, tmp_path_factory.mktemp("artifacts")), points)

    equal()


def assert_equal(training: Training, points: Sequence[dict[str, Any]]) -> None:
    """Metrics by epoch and best weights of a cohort are those of Keras' `fit`."""
    from workers.cohorts.training import Cohort
    from workers.trials import member_arrays
    from workers.trials.keras_files import WEIGHTS

    members = members_of(points)
    cohort, reasons = Cohort.of(Assignment("any", training, members))
    assert not reasons
    assert cohort is not None
    stacked = finished(cohort, EPOCHS)
    assert {ended.cause for ended in stacked.ended} == {None}
    found = curves(stacked)
    saved = {item.trial: item for item in stacked.saved}
    for member in members:
        metrics, weights = fitted(training, member)
        for epoch, expected in enumerate(metrics, 1):
            for name, value in expected.items():
                row = 1.1 / 30 if name.endswith("accuracy") else 0.0  # that lies between two classes may fall to either
                ours = found[member.trial, epoch][name]
                assert ours == pytest.approx(value, rel=1e-4, abs=1e-5 + row), (member.trial, epoch, name)
        item = saved[member.trial]
        arrays = member_arrays.unpack(Path(training.artifacts) / item.key / WEIGHTS, member.trial)
        for own, theirs in zip(arrays, weights[item.epoch - 1], strict=True):
            np.testing.assert_allclose(own, theirs, rtol=1e-3, atol=1e-4)


def training_on(function: str, artifacts: Path) -> Training:
    return cohort_training("generated_models:build", function, artifacts, HERE, epochs=EPOCHS)


def fitted(training: Training, member: Member) -> tuple[list[dict[str, float]], list[list[np.ndarray]]]:
    """Metrics and weights by epoch of the steps that Keras' `fit` makes, without its traces, and with the noise that a
    cohort draws.
    """
    import tensorflow as tf

    from workers.cohorts.kinds import NOISE, noisy_layers
    from workers.cohorts.noise import common_noise
    from workers.data import load
    from workers.trials import models
    from workers.trials.feeding import Feed
    from workers.trials.seeds import set_seeds

    assert training.data is not None
    parts = load(training.data, training.import_paths)
    set_seeds(member.seed, keras=True)
    model = models.build(training, member.params, parts).model
    feed = Feed(parts.train, parts.validation, member.params["batch_size"], training.seed)
    rates = [tf.constant(getattr(layer, NOISE[type(layer).__name__]), tf.float32) for layer in noisy_layers(model)]
    metrics, weights = [], []
    for epoch in range(EPOCHS):
        feed.begin(epoch)
        model.reset_metrics()
        logs: dict[str, Any] = {}
        for batch in feed.train:
            step = int(model.optimizer.iterations)
            with common_noise(model, rates, tf.constant([training.seed, step], tf.int64)):
                logs = model.train_step(batch)
        trained = {name: float(value) for name, value in logs.items()}
        model.reset_metrics()
        for batch in feed.validation:
            logs = model.test_step(batch)
        metrics.append({**trained, **{f"val_{name}": float(value) for name, value in logs.items()}})
        weights.append(model.get_weights())
    return metrics, weights
