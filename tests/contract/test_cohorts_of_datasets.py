"""Cohorts over tf.data: members equal trials that train alone, and each epoch reads a dataset once for all of them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.invariants import check_invariants
from tests.trained import cohort_training, curves, finished, members_of, saved_weights
from tuner.api import create_study
from tuner.configuration import Settings
from workers.contract import Assignment, Member, Training
from workers.trials.gate import Events
from workers.worker import Turns

pytestmark = pytest.mark.tensorflow

EPOCHS = 2
ROOT = str(Path(__file__).parents[2])
MLP = [
    {"depth": 1, "width": 5, "batch_size": size, "l2": l2, "learning_rate": 1e-2} for size, l2 in ((8, 0), (64, 1e-2))
]
POINTS = [{"rate": 1e-3, "l1": 0.0, "l2": 0.0}, {"rate": 3e-2, "l1": 1e-3, "l2": 1e-2}]

Make = Callable[..., Training]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(sys, "path", [ROOT, *sys.path])

    def make(model: str, data: str, **changes: Any) -> Training:
        built = model if model == "mlp" else f"tests.contract.cohort_models:{model}"
        function = f"tests.contract.cohort_datasets:{data}"
        return cohort_training(built, function, tmp_path / "artifacts", ROOT, **{"epochs": EPOCHS, **changes})

    return make


def assignment(training: Training, points: Sequence[dict[str, Any]]) -> Assignment:
    return Assignment("datasets", training, members_of(points))


def cohort_of(training: Training, points: Sequence[dict[str, Any]]) -> Any:
    from workers.cohorts.training import Cohort

    begin_counting()
    cohort, reasons = Cohort.of(assignment(training, points))
    assert not reasons
    begin_counting()
    return cohort


def alone(training: Training, points: Sequence[dict[str, Any]], trial: int) -> Events:
    """One of the trials by Keras' `fit`."""
    begin_counting()
    return finished(
        Turns(Assignment("alone", training, assignment(training, points).members[trial : trial + 1])), EPOCHS
    )


def begin_counting(passes: int = 0) -> None:
    from tests.contract import cohort_datasets

    cohort_datasets.passes = passes


def passes() -> int:
    from tests.contract import cohort_datasets

    return cohort_datasets.passes


def assert_has(found: Events, expected: Events, rel: float = 2e-5) -> None:
    """All trials ended well, and those that were expected with what was expected."""
    assert {ended.cause for ended in [*found.ended, *expected.ended]} == {None}
    assert len(curves(expected)) in {EPOCHS, EPOCHS * len(found.ended)}
    for key, metrics in curves(expected).items():
        assert curves(found)[key] == pytest.approx(metrics, rel=rel, abs=2e-6), key


@pytest.mark.parametrize(
    ("model", "data", "points"),
    [
        ("normalized", "shuffled", POINTS),
        ("wide_and_deep", "halves", POINTS),
        ("convolved", "pictures", POINTS),
        ("mlp", "shuffled", MLP),
        ("mlp", "numbers", MLP),
    ],
)
def test_members_equal_trials_that_train_alone(
    training: Make, model: str, data: str, points: list[dict[str, Any]]
) -> None:
    """90 or 120 rows in batches of 16 or 32 leave a partial one."""
    described = training(model, data)
    cohort = cohort_of(described, points)
    assert [len(stack.seats) for stack in cohort._stacks] == [2]
    stacked = finished(cohort, EPOCHS)
    weights = saved_weights(described, points, stacked)
    single = alone(described, points, 1)
    assert_has(stacked, single)
    for ours, theirs in zip(weights[1], saved_weights(described, points, single)[1], strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_dataset_that_does_not_say_its_length_is_read_to_its_end(training: Make) -> None:
    """Its epochs differ in length, so steps are counted, also over a checkpoint."""
    described = training("dense", "uneven")
    expected = alone(described, POINTS, 1)
    cohort = cohort_of(training("dense", "uneven", checkpoint_seconds=0.0), POINTS)
    first = cohort.advance(1, 60.0, ())
    assert [(item.epoch, passes()) for item in first.saved] == [(1, 1)] * 2
    from workers.cohorts.training import Cohort

    members = tuple(Member(item.trial, 2, POINTS[item.trial], 100, item.key) for item in first.saved)
    resumed, _ = Cohort.of(Assignment("resumed", described, members))
    assert resumed is not None
    begin_counting(1)
    second = finished(resumed, EPOCHS)
    second.reports = [*first.reports, *second.reports]
    assert_has(second, expected)


def test_an_epoch_is_one_pass_for_all_members_in_however_many_slices(
    training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.cohorts import batches

    monkeypatch.setattr(batches, "_NUMBERS", 1)  # one batch in each call
    described = training("dense", "counted")
    points = [{**POINTS[1], "rate": rate} for rate in (1e-3, 3e-3, 1e-2)]
    expected = alone(described, points, 0)
    cohort = cohort_of(described, points)
    leaving = {2: (1,), 11: (2,)}  # in the middle of the first epoch, and of the second one
    found, seen, slices = Events(), [], 0
    while not found.ended:
        news = cohort.advance(EPOCHS, 0.0, leaving.get(slices, ()))
        seen += [(report.trial, report.epoch, passes()) for report in news.reports]
        found.reports += [report for report in news.reports if report.trial == 0]
        found.ended += news.ended
        slices += 1
    assert seen == [(0, 1, 1), (2, 1, 1), (0, 2, 2)]
    assert slices > 2 * (6 + 2)
    assert_has(found, expected)


def test_members_that_are_too_many_to_compute_at_once_share_the_batches(
    training: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.cohorts import lifted

    described = training("dense", "counted")
    points = [{**POINTS[1], "rate": rate} for rate in (1e-3, 3e-3, 1e-2)]
    expected = finished(cohort_of(described, points), EPOCHS)
    monkeypatch.setattr(lifted, "MOST_NUMBERS", 2 * 43)
    cohort = cohort_of(described, points)
    [stack] = cohort._stacks
    assert (stack.structure.width, len(stack.seats)) == (2, 3)
    assert_has(finished(cohort, EPOCHS), expected, 1e-5)
    assert passes() == EPOCHS


def test_a_dataset_that_cannot_be_read_again_fails_its_trials_with_a_sentence(training: Make) -> None:
    cohort = cohort_of(training("dense", "once"), POINTS)
    events = finished(cohort, EPOCHS)
    assert [(report.trial, report.epoch) for report in events.reports] == [(0, 1), (1, 1)]
    assert {ended.cause for ended in events.ended} == {"user_error"}
    assert all("The train dataset yielded no batch." in ended.message for ended in events.ended)


def test_what_a_type_does_not_say_trains_alone(training: Make) -> None:
    from workers.cohorts.training import Cohort

    _, reasons = Cohort.of(assignment(training("dense", "untyped"), POINTS))
    expected = "the tf.data.Dataset yields something else than tensors whose number of axes is known"
    assert reasons == dict.fromkeys((0, 1), expected)


def test_a_study_over_a_dataset_trains_in_cohorts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [ROOT, *sys.path])
    settings = Settings.load({}, home=tmp_path, launcher="inline", import_paths=ROOT)
    study = create_study(
        "streamed",
        model="tests.contract.cohort_models:dense",
        data="tests.contract.cohort_datasets:shuffled",
        settings=settings,
        trials=6,
        cohort=3,
        epochs=2,
        sampler="random",
        pruner="none",
    ).run(progress=False)
    assert study.summary().counts == {"complete": 6}
    assert {trial.trained for trial in study.trials} == {"in a cohort of 3 (program: model of 43 weights)"}
    check_invariants(study.database, study.name, str(settings.artifacts))


def test_batches_of_one_call_are_the_datasets_own() -> None:
    """Whatever their sizes and shapes: a call has some of equal size, of which only the last may be smaller."""
    import tensorflow as tf

    from workers.cohorts.batches import Streamed

    shapes = [(4, 2), (4, 2), (4, 2), (4, 2), (3, 2), (4, 2), (2, 2), (4, 2), (4, 5), (4, 5), (0, 5), (4, 5)]
    signature = tf.TensorSpec([None, None], tf.float32), tf.TensorSpec([None], tf.int64)

    def batches() -> Iterator[Any]:
        for number, shape in enumerate(shapes):
            yield np.full(shape, number, "float32"), np.full(shape[:1], number)

    dataset = tf.data.Dataset.from_generator(batches, output_signature=signature)
    calls = list(Streamed(dataset, "train").training(1, 3, 0, 0))
    assert {call.count for call in calls} <= {0, 1, 2, 3}
    found = [
        (call.data[0].numpy()[rows], call.data[1].numpy()[rows])
        for call in calls
        for rows in np.split(call.order.numpy(), range(call.batch, len(call.order), call.batch))
        if len(rows)
    ]
    expected = [(np.full(shape, number), np.full(shape[:1], number)) for number, shape in enumerate(shapes) if shape[0]]
    for (x, y), (own_x, own_y) in zip(found, expected, strict=True):
        np.testing.assert_array_equal(x, own_x)
        np.testing.assert_array_equal(y, own_y)
