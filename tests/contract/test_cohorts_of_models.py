"""Users' own models trained together give what each gives alone: held against Keras' own `fit`, trial by trial."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.trained import cohort_training, curves, finished, members_of, saved_weights
from workers.contract import Assignment, Member, Training
from workers.trials.gate import Events
from workers.worker import Turns, Worker

pytestmark = pytest.mark.tensorflow

EPOCHS = 2
HERE = str(Path(__file__).parent)
POINTS = (
    {"rate": 1e-3, "l1": 0.0, "l2": 0.0, "batch_size": 16},
    {"rate": 3e-2, "l1": 1e-3, "l2": 1e-2, "batch_size": 16},
)

Make = Callable[..., Training]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(sys, "path", [HERE, *sys.path])

    def make(model: str, data: str = "keras_models:blobs", **changes: Any) -> Training:
        return cohort_training(
            f"cohort_models:{model}", data, tmp_path / "artifacts", HERE, **{"epochs": EPOCHS, **changes}
        )

    return make


def assignment(training: Training, points: Sequence[dict[str, Any]]) -> Assignment:
    return Assignment("models", training, members_of(points))


def cohort_of(training: Training, points: Sequence[dict[str, Any]]) -> tuple[Any, dict[int, str]]:
    from workers.cohorts.training import Cohort

    return Cohort.of(assignment(training, points))


def together(training: Training, points: Sequence[dict[str, Any]] = POINTS) -> Events:
    cohort, reasons = cohort_of(training, points)
    assert not reasons
    return finished(cohort, EPOCHS)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("dense", "keras_models:weighted"),
        ("normalized", "keras_models:blobs"),
        ("measured", "keras_models:prices"),
    ],
)
def test_members_equal_trials_that_train_alone(training: Make, model: str, data: str) -> None:
    """90 rows in batches of 16 leave a partial one."""
    described = training(model, data)
    stacked = together(described)
    weights = saved_weights(described, POINTS, stacked)
    single = finished(Turns(assignment(described, POINTS)), EPOCHS)
    expected = curves(single)
    assert curves(stacked).keys() == expected.keys()
    for key, metrics in curves(stacked).items():
        assert metrics == pytest.approx(expected[key], rel=2e-5, abs=2e-6), key
    assert {ended.cause for ended in stacked.ended} == {None}
    for trial, arrays in saved_weights(described, POINTS, single).items():
        for ours, theirs in zip(weights[trial], arrays, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("model", "data"),
    [
        ("subclassed", "keras_models:blobs"),
        ("pressed", "keras_models:blobs"),
    ],
)
def test_a_model_that_the_comparison_finds_equal_is_stacked(training: Make, model: str, data: str) -> None:
    assert sorted(curves(together(training(model, data)))) == [(0, 1), (0, 2), (1, 1), (1, 2)]


def test_noise_does_not_depend_on_the_company(training: Make) -> None:
    points = [{**POINTS[0], "noise": noise, "dropout": rate} for noise, rate in ((0.0, 0.0), (0.3, 0.2), (0.1, 0.5))]
    all_three = curves(together(training("noisy"), points))
    two = curves(together(training("noisy"), points[:2]))
    assert all(all_three[key] == pytest.approx(metrics, rel=1e-5) for key, metrics in two.items())
    quiet = curves(finished(Turns(assignment(training("noisy"), points[:1])), EPOCHS))
    assert all(all_three[key] == pytest.approx(metrics, rel=2e-5, abs=2e-6) for key, metrics in quiet.items())


def test_code_that_no_configuration_shows_is_found_by_comparing_every_member(training: Make) -> None:
    points = [{**POINTS[0], "factor": factor} for factor in (1.0, 1.0, 1.5)]
    cohort, reasons = cohort_of(training("scaled"), points)
    assert [seat.lane.member.trial for stack in cohort._stacks for seat in stack.seats] == [0, 1]
    assert reasons.keys() == {2}
    assert reasons[2].startswith("a stack would train the model otherwise than Keras: ")


def test_trials_of_an_assignment_that_cannot_be_stacked_train_alone_beside_the_others(training: Make) -> None:
    worker = Worker("mixed")
    points = [{**POINTS[0], "factor": factor} for factor in (1.0, 1.0, 1.5)]
    worker.start(assignment(training("scaled"), points))
    ended: dict[int, Any] = {}
    reports = []
    while len(ended) < 3:
        result = worker.advance(EPOCHS, 60.0)
        ended |= {item.trial: item.cause for item in result.ended}
        reports += [(report.trial, report.epoch) for report in result.reports]
    worker.stop(20.0)
    assert ended == {0: None, 1: None, 2: None}
    assert sorted(reports) == [(trial, epoch) for trial in range(3) for epoch in (1, 2)]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("cohort_models:scheduled", "the learning rate follows a schedule that is not one of Keras'"),
        ("cohort_models:averaged", "the optimizer averages weights (use_ema=True)"),
        ("cohort_models:orthogonal", "has a regularizer other than L1 and L2"),
        ("cohort_models:centred", "has a constraint that is not one of Keras'"),
        ("cohort_models:looked_up", "the layer words is an Embedding: Adam takes another step"),
        ("cohort_models:looked_up_and_clipped", "the layer words is an Embedding: SGD clips another gradient"),
        ("keras_models:own_step", "the model has a train_step of its own"),
        ("keras_models:OwnFit", "the HyperModel has a fit of its own"),
    ],
)
def test_what_a_stack_cannot_do_as_keras_does_trains_alone(training: Make, model: str, sentence: str) -> None:
    data = "cohort_models:words" if "looked_up" in model else "keras_models:blobs"
    cohort, reasons = cohort_of(replace(training("dense", data), model=model), POINTS)
    assert cohort is None
    assert all(sentence in reasons[trial] for trial in (0, 1))


def test_a_large_model_trains_alone_beside_small_ones(training: Make) -> None:
    points = [{**POINTS[0], "width": width} for width in (4, 63_000, 4)]
    cohort, reasons = cohort_of(training("wide"), points)
    assert [seat.lane.member.trial for stack in cohort._stacks for seat in stack.seats] == [0, 2]
    assert reasons == {1: "the model has 504,003 weights, and above 500,000 Keras' fit is faster"}


def test_a_trial_goes_on_the_way_it_began(training: Make) -> None:
    """From its rows in whatever company, also alone; and alone from what `fit` has saved."""
    described = training("dense", checkpoint_seconds=0.0)
    expected = curves(together(training("dense")))
    cohort, _ = cohort_of(described, POINTS)
    saved = cohort.advance(1, 60.0, ()).saved
    member = Member(1, 2, POINTS[1], 101, saved[1].key)
    from workers.cohorts.training import Cohort

    resumed, _ = Cohort.of(Assignment("resumed", described, (member,)))
    assert resumed is not None
    (report,) = resumed.advance(EPOCHS, 60.0, ()).reports
    assert report.epoch == 2
    assert report.metrics == pytest.approx(expected[1, 2], rel=1e-5, abs=1e-6)
    other = Member(1, 2, POINTS[1], 101, "a/checkpoint/of/fit")
    assert Cohort.of(Assignment("resumed", described, (other,))) == (
        None,
        {1: "it began alone, and goes on from its checkpoint"},
    )


def test_a_pattern_is_traced_once(training: Make) -> None:
    from workers.cohorts.lifted import LiftedModels

    traced = []
    for points in (POINTS, [{**POINTS[0], "batch_size": 32, "rate": 1e-2}] * 3):
        cohort, _ = cohort_of(training("dense"), points)
        (stack,) = cohort._stacks
        assert isinstance(stack.structure, LiftedModels)
        traced.append(stack.structure.pattern)
        finished(cohort, EPOCHS)
    assert traced[0] is traced[1]
    assert traced[0].train.experimental_get_tracing_count() == 1
