"""Trials trained together give what each gives alone: held against Keras' own `fit`, optimizer by optimizer."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search_spaces import ACTIVATIONS, OPTIMIZERS
from tests.trained import cohort_training, curves, finished, members_of, saved_weights
from workers.contract import Assignment, Member, Training
from workers.trials.gate import Events
from workers.worker import Trainer, Turns

pytestmark = pytest.mark.tensorflow

EPOCHS = 3
HERE = str(Path(__file__).parent)
LAMBDAS = ((0.0, 0.0), (1e-3, 0.0), (0.0, 1e-2), (1e-4, 1e-3))
RATES = (1e-3, 1e-2, 3e-3, 3e-2)

Make = Callable[..., Training]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(data: str = "blobs", **changes: Any) -> Training:
        return cohort_training(
            "mlp", f"keras_models:{data}", tmp_path / "artifacts", HERE, **{"epochs": EPOCHS, **changes}
        )

    return make


def together(training: Training, points: Sequence[dict[str, Any]], until: int = EPOCHS) -> Events:
    return finished(cohort_of(training, members_of(points)), until)


def cohort_of(training: Training, members: tuple[Member, ...]) -> Trainer:
    from workers.cohorts.training import Cohort

    cohort, reasons = Cohort.of(Assignment("together", training, members))
    assert cohort is not None
    assert not reasons
    return cohort


def alone(training: Training, points: Sequence[dict[str, Any]]) -> Events:
    """The same trials by Keras' `fit`, one after the other."""
    return finished(Turns(Assignment("alone", training, members_of(points))), EPOCHS)


def assert_equal(training: Training, points: Sequence[dict[str, Any]]) -> None:
    """Metrics and best weights of each member equal those of the trial alone, to float32's tolerance."""
    stacked = together(training, points)
    weights = saved_weights(training, points, stacked)
    single = alone(training, points)
    expected = curves(single)
    assert curves(stacked).keys() == expected.keys()
    for key, metrics in curves(stacked).items():
        assert metrics.keys() == expected[key].keys()
        assert metrics == pytest.approx(expected[key], rel=2e-5, abs=2e-6), key
    assert sorted(ended.trial for ended in stacked.ended) == list(range(len(points)))
    assert {ended.cause for ended in stacked.ended} == {None}
    for trial, arrays in saved_weights(training, points, single).items():
        for ours, theirs in zip(weights[trial], arrays, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


def varied(**shared: Any) -> list[dict[str, Any]]:
    pairs = zip(RATES, LAMBDAS, strict=True)
    return [{**shared, "learning_rate": rate, "l1": l1, "l2": l2} for rate, (l1, l2) in pairs]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_members_equal_trials_that_train_alone(training: Make, optimizer: str) -> None:
    assert_equal(training(), varied(depth=2, width=6, optimizer=optimizer, batch_size=16))


def test_every_activation_equals_keras(training: Make) -> None:
    """Also behind a single unit that is silent for some rows: what the second layer is given is then exactly zero."""
    silent = {"depth": 2, "width": 1, "activation": "prelu", "optimizer": "sgd", "batch_size": 16}
    points = [{"depth": 1, "width": 5, "activation": name, "batch_size": 32, "l2": 1e-3} for name in ACTIVATIONS]
    assert_equal(training(), [{**silent, "learning_rate": 0.015625}, *points])


@pytest.mark.parametrize("data", ["prices", "weighted", "indicators", "pictures"])
def test_every_kind_of_data_equals_keras(training: Make, data: str) -> None:
    """Regression far from zero, sample weights, one-hot targets, images; 120 or 90 rows leave a partial last batch."""
    assert_equal(training(data), varied(depth=1, width=6, activation="prelu", batch_size=32))


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.fixed_dictionaries(
            {
                "depth": st.integers(1, 3),
                "width": st.integers(1, 9),
                "activation": st.sampled_from(ACTIVATIONS),
                "optimizer": st.sampled_from(OPTIMIZERS),
                "learning_rate": st.floats(1e-4, 3e-2),
                "l1": st.sampled_from([0.0, 1e-4, 1e-2]),
                "l2": st.sampled_from([0.0, 1e-4, 1e-2]),
                "batch_size": st.sampled_from([16, 32, 90]),
            }
        ),
        min_size=1,
        max_size=4,
    )
)
def test_any_mixture_of_shapes_equals_keras(training: Make, points: list[dict[str, Any]]) -> None:
    assert_equal(training(), points)


def test_a_member_does_not_depend_on_its_company(training: Make) -> None:
    """Also where it drops units: all members see the same draws, whoever they are together with."""
    points = varied(depth=2, width=8, batch_size=16)
    for place, rate in enumerate((0.0, 0.2, 0.5, 0.9)):
        points[place]["dropout"] = rate
    stacked = curves(together(training(), points))
    for place, point in enumerate(points):
        member = Member(place, 1, point, 100 + place)
        single = curves(finished(cohort_of(training(), (member,)), EPOCHS))
        for key, metrics in single.items():
            assert stacked[key] == pytest.approx(metrics, rel=1e-5, abs=1e-6)
    undropped = curves(alone(training(), points[:1]))
    for key, metrics in undropped.items():
        assert stacked[key] == pytest.approx(metrics, rel=1e-5, abs=1e-6)


def test_compiled_structures_equal_keras(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each activation and each optimizer, and a single unit that is silent for some rows."""
    made = compiling(monkeypatch)
    pairs = zip(ACTIVATIONS, OPTIMIZERS, strict=True)
    shared = {"depth": 2, "width": 5, "batch_size": 16, "learning_rate": 1e-2, "l1": 1e-4, "l2": 1e-3}
    points = [{**shared, "activation": one, "optimizer": other} for one, other in pairs]
    silent = {**shared, "width": 1, "activation": "prelu", "optimizer": "sgd", "learning_rate": 0.015625}
    assert_equal(training(), [*points, silent])
    assert [each.experimental_get_tracing_count() for each in made.values()] == [1] * 9


@pytest.mark.parametrize(("data", "batch"), [("prices", 32), ("weighted", 32), ("indicators", 500)])
def test_compiled_every_kind_of_data_equals_keras(
    training: Make, data: str, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = compiling(monkeypatch)
    assert_equal(training(data), varied(depth=1, width=6, batch_size=batch)[:2])
    assert len(made) == 1


def test_a_compiled_structure_drops_the_same_units(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where an epoch is several calls, of which the last one is shorter."""
    from workers.cohorts import family

    points = varied(depth=2, width=8, batch_size=16, dropout=0.3)
    stacked = curves(together(training(), points))
    made = compiling(monkeypatch)
    monkeypatch.setattr(family, "STEPS", 4)
    events = together(training(), points)
    assert {item.how for item in events.trained} == {"in a cohort of 4 (program: mlp, depth 2, compiled)"}
    for key, metrics in curves(events).items():
        assert stacked[key] == pytest.approx(metrics, rel=1e-5, abs=1e-6)
    assert [each.experimental_get_tracing_count() for each in made.values()] == [1]


def test_what_a_process_compiles_is_limited(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = compiling(monkeypatch)
    monkeypatch.setattr("workers.cohorts.compiled.MOST", 1)
    points = [{"depth": 1, "width": width, "batch_size": 16} for width in (3, 4)]
    trained = together(training(), points).trained
    assert ["compiled" in item.how for item in trained] == [True, False]
    assert [each.experimental_get_tracing_count() for each in made.values()] == [1], "what is said is what trains"


def test_structures_are_compiled_where_an_epoch_is_long() -> None:
    import tensorflow as tf

    from workers.cohorts.batches import Resident
    from workers.cohorts.family import Family
    from workers.cohorts.layout import Layout
    from workers.cohorts.source import Source

    def label(rows: int, width: int) -> str:
        part = Resident((tf.zeros([rows, 1]), tf.zeros([rows], tf.int64), tf.ones([rows])))
        source = Source(part, part, 100, None, "sparse", "accuracy", tf.zeros([2]), tf.ones([2]), 0)
        return Family.of(Layout(100, 2, width, 2, False), "relu", "adam", 32, source).label

    assert label(30_000, 128) == label(3_000, 512) == "mlp, depth 2, compiled"
    assert label(30_000, 16) == label(1_000, 128) == "mlp, depth 2"


def compiling(monkeypatch: pytest.MonkeyPatch) -> dict[Any, Any]:
    """Compile every structure; the functions, as they are made."""
    from workers.cohorts import compiled, family

    made: dict[Any, Any] = {}
    monkeypatch.setattr(family, "COMPILED_FROM", 0)
    monkeypatch.setattr(compiled, "_FUNCTIONS", made)
    return made


def test_dropout_drops_its_share_and_keeps_the_mean() -> None:
    import tensorflow as tf

    from workers.cohorts.noise import dropped, uniform

    rates = tf.constant([0.0, 0.25, 0.75])[:, None, None]
    draw = uniform([400, 50], tf.constant([1, 2], tf.int64))
    left = dropped(tf.ones([3, 400, 50]), draw, rates).numpy()
    assert (left == 0).mean(axis=(1, 2)) == pytest.approx([0.0, 0.25, 0.75], abs=0.01)
    assert left.mean(axis=(1, 2)) == pytest.approx([1.0, 1.0, 1.0], abs=0.03)


def test_each_study_step_and_layer_draws_by_itself() -> None:
    import tensorflow as tf

    from workers.cohorts.noise import seed_of, uniform

    # Studies, steps and layers; a study's seed is 0 unless it says another one.
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 3, 0), (0, 1, 1), (1, 0, 0), (2**32 - 1, 0, 0), (2**32 - 1, 1, 1)]
    draws = [
        uniform([300, 40], seed_of(tf.constant([study, step], tf.int64), layer)).numpy().ravel()
        for study, step, layer in places
    ]
    columns = np.stack([*draws, np.roll(draws[0], 1)])
    assert columns.min() >= 0
    assert columns.max() < 1
    assert columns.mean(1) == pytest.approx(np.full(len(columns), 0.5), abs=0.01)
    assert columns.std(1) == pytest.approx(np.full(len(columns), 12**-0.5), abs=0.01)
    assert np.abs(np.corrcoef(columns) - np.eye(len(columns))).max() < 0.04  # 4 standard errors


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_weights_begin_as_keras_begins_them(training: Make, dropout: float) -> None:
    from workers.cohorts.layout import layout_of
    from workers.data import load
    from workers.trials import models
    from workers.trials.seeds import set_seeds

    described = training()
    assert described.data is not None
    parts = load(described.data, described.import_paths)
    params = models.complete({"depth": 3, "width": 7, "activation": "prelu", "dropout": dropout})
    layout = layout_of(params, 4, 3)
    set_seeds(77, keras=True)
    expected = models.mlp(params, parts).get_weights()
    for ours, theirs in zip(layout.weights(layout.initial(77, dropout > 0)), expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_a_member_that_diverges_leaves_the_others_alone(training: Make) -> None:
    points = varied(depth=1, width=6, optimizer="sgd")
    points[1] = {**points[1], "learning_rate": 1e30}
    stacked = together(training(), points)
    causes = {ended.trial: ended.cause for ended in stacked.ended}
    assert causes == {0: None, 1: "non_finite", 2: None, 3: None}
    expected = curves(alone(training(), [points[0]]))
    for (_, epoch), metrics in expected.items():
        assert curves(stacked)[(0, epoch)] == pytest.approx(metrics, rel=1e-5, abs=1e-6)
    assert all(math.isfinite(value) for trial in (0, 2, 3) for value in curves(stacked)[(trial, EPOCHS)].values())


def test_a_trial_that_is_dropped_is_not_heard_of_again(training: Make) -> None:
    points = varied(depth=1, width=6)
    cohort = cohort_of(training(), members_of(points))
    first = cohort.advance(1, 60.0, ())
    assert sorted(report.trial for report in first.reports) == [0, 1, 2, 3]
    rest = cohort.advance(EPOCHS, 60.0, (0, 2))
    assert sorted({report.trial for report in rest.reports}) == [1, 3]
    assert sorted(ended.trial for ended in rest.ended) == [1, 3]
    expected = curves(together(training(), points))
    assert all(expected[key] == pytest.approx(metrics, rel=1e-5, abs=1e-6) for key, metrics in curves(rest).items())


def test_a_stack_that_is_saved_to_be_stopped_waits_after_its_epoch(training: Make) -> None:
    points = varied(depth=1, width=6)
    described = training(checkpoint_seconds=1000.0)
    cohort = cohort_of(described, members_of(points))
    assert not cohort.advance(1, 60.0, ()).saved
    events = cohort.advance(EPOCHS, 60.0, (), save=True)
    assert [(item.trial, item.epoch) for item in events.saved] == [(trial, 2) for trial in range(4)]
    assert events.held
    assert cohort.advance(EPOCHS, 60.0, (), save=True).reports == []


def test_patience_is_each_members_own(training: Make) -> None:
    points = varied(depth=1, width=6)
    points[2] = {**points[2], "learning_rate": 1e-12}  # its first epoch stays about its best
    described = training(epochs=8, patience=2)
    epochs: dict[int, int] = {}
    for report in together(described, points, 8).reports:
        epochs[report.trial] = report.epoch
    assert epochs[0] == 8
    single = [report.epoch for report in finished(Turns(Assignment("a", described, members_of(points))), 8).reports]
    assert sum(epochs.values()) == len(single)


def test_a_slice_ends_in_mid_epoch_and_the_next_one_goes_on(training: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from workers.cohorts import family

    points = varied(depth=1, width=6, batch_size=16)
    expected = curves(together(training(), points))
    monkeypatch.setattr(family, "STEPS", 2)
    cohort = cohort_of(training(), members_of(points))
    reports = []
    for _ in range(200):
        events = cohort.advance(EPOCHS, 0.0, ())
        reports += events.reports
        if len(events.ended) == len(points):
            break
    assert [report.trial for report in reports] == [0, 1, 2, 3] * EPOCHS
    assert all(expected[report.trial, report.epoch] == pytest.approx(report.metrics, rel=1e-6) for report in reports)


def test_a_new_shape_needs_no_new_trace(training: Make) -> None:
    from workers.cohorts.program import program

    together(training(), [{"depth": 2, "width": 3}])
    traced = program("sparse").train
    before = traced.experimental_get_tracing_count()
    shapes = zip(ACTIVATIONS, OPTIMIZERS, strict=True)
    points = [{"depth": 1 + i % 4, "width": 4 + i, "activation": a, "optimizer": o} for i, (a, o) in enumerate(shapes)]
    together(training(), points)
    assert traced.experimental_get_tracing_count() == before


def test_the_program_knows_what_the_family_knows() -> None:
    from workers.cohorts import networks, program, updates
    from workers.trials import models

    assert tuple(networks.ACTIVATIONS) == ACTIVATIONS
    assert tuple(models.OPTIMIZERS) == OPTIMIZERS
    assert {program.settings_of(name)["class"] for name in OPTIMIZERS} <= updates.UPDATES.keys()


def test_members_that_are_too_many_for_a_stack_are_in_equal_ones(
    training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not three and one: oneDNN keeps kernels for each number of members."""
    from workers.cohorts import family
    from workers.cohorts.layout import layout_of

    points = varied(depth=1, width=6, activation="relu", batch_size=16)[:4]
    monkeypatch.setattr(family, "MOST_NUMBERS", 3 * layout_of(points[0], 4, 3).size)
    assert {item.how for item in together(training(), points).trained} == {"in a cohort of 2 (program: mlp, depth 1)"}


def test_a_stack_leaves_room_for_what_its_layers_answer() -> None:
    """Few weights, but inputs of many columns: it is the copies of a batch that take memory."""
    from workers.cohorts.family import Family
    from workers.cohorts.layout import Layout

    def most(inputs: int, width: int, batch_size: int = 32) -> int:
        return Family(Layout(inputs, 1, width, 3, False), "relu", "adam", batch_size, None).width  # type: ignore[arg-type]

    assert most(64, 64) > 16
    assert most(64, 1000) == 7  # of its 68,003 weights a stack holds half a million
    assert most(10_000, 8) == 3  # 512 rows are evaluated at a time
    assert most(10_000, 8, batch_size=4096) == 1
