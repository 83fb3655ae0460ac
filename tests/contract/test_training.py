"""One Keras trial on a real worker: what it reports, saves and resumes, for every kind of model."""

from __future__ import annotations

import json
import math
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workers.contract import Assignment, Ended, Member, Saved, SliceResult, Training
from workers.worker import Worker

pytestmark = pytest.mark.tensorflow

Run = Callable[..., SliceResult]


@pytest.fixture
def training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Training]:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def make(model: str = "mlp", data: str = "blobs", **changes: Any) -> Training:
        values: dict[str, Any] = {
            "study": "training",
            "model": model if model == "mlp" else f"keras_models:{model}",
            "loop": False,
            "space": None,
            "data": {"function": f"keras_models:{data}"},
            "objective": "val_data_loss",
            "direction": "minimize",
            "epochs": 3,
            "patience": None,
            "checkpoint_seconds": 1e9,
            "artifacts": str(tmp_path / "artifacts"),
            "import_paths": (str(Path(__file__).parent),),
        }
        return Training(**{**values, **changes})

    return make


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker("w")
    yield worker
    worker.stop(20)


@pytest.fixture
def run(worker: Worker, training: Callable[..., Training]) -> Run:
    """Run one trial to its end."""

    def go(model: str = "mlp", *, params: dict[str, Any] | None = None, **changes: Any) -> SliceResult:
        checkpoint = changes.pop("checkpoint", None)
        described = training(model, **changes)
        worker.start(Assignment("a", described, (Member(4, 2, params or {}, 11, checkpoint),)))
        return worker.advance(described.epochs, 120.0)

    return go


def losses(result: SliceResult, name: str = "val_data_loss") -> list[float]:
    return [report.metrics[name] for report in result.reports]


@pytest.mark.parametrize(("model", "data"), [("build", "blobs"), ("build", "weighted"), ("dropout", "batches")])
def test_a_train_step_is_traced_once(run: Run, model: str, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not twice, as where optimizer or metrics make their variables in it: half of what a small trial takes."""
    import keras

    traced = []
    step = keras.Model.train_step

    def train_step(self: Any, batch: Any) -> Any:
        traced.append(self)
        return step(self, batch)

    monkeypatch.setattr(keras.Model, "train_step", train_step)
    run(model, data=data)
    assert len(traced) == 1


def test_the_mlp_reports_the_split_loss_and_saves_its_best_epoch(run: Run, tmp_path: Path) -> None:
    result = run(params={"depth": 1, "width": 8, "l1": 1e-3, "l2": 1e-2, "batch_size": 16}, epochs=4)
    assert result.ended == (Ended(4, 2, None, best_epoch=4, weights=67),)
    assert [(report.trial, report.token, report.epoch) for report in result.reports] == [(4, 2, e) for e in range(1, 5)]
    for report in result.reports:
        metrics = report.metrics
        assert {"accuracy", "val_accuracy", "loss", "val_loss"} <= set(metrics)
        assert metrics["loss"] == pytest.approx(metrics["data_loss"] + metrics["penalty"], rel=1e-5)
        assert metrics["val_loss"] == pytest.approx(metrics["val_data_loss"] + metrics["val_penalty"], rel=1e-5)
        assert metrics["penalty"] > 0.0
        assert report.seconds > 0.0
    (saved,) = result.saved
    assert (saved.kind, saved.epoch, saved.key) == ("model", 4, "training/trial-000004/attempt-2/epoch-0004-model")
    manifest = json.loads((tmp_path / "artifacts" / saved.key / "manifest.json").read_text())
    assert [(item["trial"], item["params"]["width"]) for item in manifest["members"]] == [(4, 8)]
    assert result.progress >= 4 * math.ceil(90 / 16)
    assert losses(result)[-1] < losses(result)[0]


def test_equal_seeds_train_equal_models(run: Run) -> None:
    params = {"depth": 2, "width": 8, "dropout": 0.2}
    assert [report.metrics for report in run(params=params).reports] == [
        report.metrics for report in run(params=params).reports
    ]


def test_a_regression_learns_in_units_of_its_target(run: Run) -> None:
    result = run(data="prices", params={"optimizer": "sgd", "learning_rate": 0.05, "batch_size": 16}, epochs=8)
    last = result.reports[-1].metrics
    assert result.ended[0].cause is None
    assert last["val_data_loss"] < 0.2  # of the targets' variance
    assert 500 < last["val_mae"] < 30_000  # in the targets' units


@pytest.mark.parametrize("data", ["blobs", "batches"])
def test_a_build_function_with_a_conditional_scope_runs_unchanged(run: Run, data: str) -> None:
    result = run("build", params={"kind": "deep", "layers": 2, "units_0": 5, "units_1": 7, "lr": 0.03}, data=data)
    assert result.ended[0].cause is None
    assert len(result.reports) == 3
    assert run("build", params={"kind": "plain"}, data=data).ended[0].cause is None  # lr takes its default


def test_a_hypermodel_with_its_own_fit_chooses_epochs_and_batch_size(run: Run) -> None:
    result = run("OwnFit", params={"units": 4, "batch_size": 8, "epochs": 2}, epochs=10)
    assert result.ended == (Ended(4, 2, None, best_epoch=2, weights=35),)
    assert [report.epoch for report in result.reports] == [1, 2]
    assert result.progress >= 2 * math.ceil(90 / 8)


def test_a_hypermodel_that_trains_by_itself_reports_what_it_returns(run: Run) -> None:
    result = run("OwnLoop", params={"units": 4}, objective="val_accuracy", direction="maximize", epochs=1)
    assert result.ended[0].cause is None
    assert set(result.reports[0].metrics) == {"val_accuracy"}


def test_a_train_step_that_calls_compute_loss_is_split(run: Run) -> None:
    result = run("own_step", params={"units": 4})
    assert result.ended[0].cause is None
    metrics = result.reports[-1].metrics
    assert metrics["val_loss"] == pytest.approx(metrics["val_data_loss"] + metrics["val_penalty"], rel=1e-5)


def test_a_train_step_that_does_not_has_no_data_loss(run: Run) -> None:
    assert run("own_loss", params={"units": 4}, objective="val_loss").ended[0].cause is None
    ended = run("own_loss", params={"units": 4}).ended[0]
    assert ended.cause == "user_error"
    assert "'val_data_loss' is not among the metrics of epoch 1: loss, val_loss" in ended.message


def test_a_model_that_cannot_describe_itself_is_saved_all_the_same(run: Run, tmp_path: Path) -> None:
    (saved,) = run("own_step", params={"units": 4}).saved
    with zipfile.ZipFile(tmp_path / "artifacts" / saved.key / "model.keras") as archive:
        assert "model.weights.h5" in archive.namelist()


def test_patience_ends_a_trial_and_the_best_weights_are_saved(
    run: Run, training: Callable[..., Training], tmp_path: Path
) -> None:
    result = run("swinging", params={"lr": 5.0}, epochs=30, patience=3)
    best = int(np.argmin(losses(result))) + 1
    assert len(result.reports) == best + 3 < 30
    assert result.ended == (Ended(4, 2, None, best_epoch=best, weights=67),)
    (saved,) = result.saved
    assert saved.epoch == best
    from workers.data import load
    from workers.trials import keras_files, models

    described = training("swinging")
    assert described.data is not None
    parts = load(described.data, described.import_paths)
    model = models.build(described, {"lr": 5.0}, parts).model
    keras_files.load_weights(model, tmp_path / "artifacts" / saved.key / "model.keras")
    score = model.evaluate(parts.validation.x, parts.validation.y, verbose=0, return_dict=True)
    assert score["loss"] == pytest.approx(losses(result)[best - 1], rel=1e-5)


def checkpoint_after(worker: Worker, described: Training, params: dict[str, Any], epochs: int) -> Saved:
    """A trial that is lost after some epochs: its last checkpoint."""
    worker.start(Assignment("a", described, (Member(4, 1, params, 11),)))
    result = worker.advance(epochs, 120.0)
    worker.stop(20)
    assert [report.epoch for report in result.reports] == list(range(1, epochs + 1))
    return [saved for saved in result.saved if saved.kind == "checkpoint"][-1]


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("mlp", {"depth": 2, "width": 8, "dropout": 0.3, "l2": 1e-2, "batch_size": 16}),
        ("dropout", {"units": 8}),
        ("own_step", {"units": 4}),
    ],
)
def test_a_resumed_trial_gives_the_numbers_of_an_undisturbed_one(
    run: Run, training: Callable[..., Training], model: str, params: dict[str, Any]
) -> None:
    whole = run(model, params=params, epochs=6)
    described = training(model, epochs=6, checkpoint_seconds=0.0)
    saved = checkpoint_after(Worker("lost"), described, params, 3)
    assert saved.epoch == 3
    resumed = run(model, params=params, epochs=6, checkpoint=saved.key)
    assert [report.epoch for report in resumed.reports] == [4, 5, 6]
    for before, after in zip(whole.reports[3:], resumed.reports, strict=True):
        assert after.metrics == pytest.approx(before.metrics, rel=1e-6, abs=1e-7)
    assert resumed.ended == whole.ended


def test_patience_and_the_best_weights_survive_an_interruption(run: Run, training: Callable[..., Training]) -> None:
    params = {"lr": 5.0}
    whole = run("swinging", params=params, epochs=30, patience=4)
    best = whole.ended[0].best_epoch
    assert best is not None
    described = training("swinging", epochs=30, patience=4, checkpoint_seconds=0.0)
    saved = checkpoint_after(Worker("lost"), described, params, best + 2)
    resumed = run("swinging", params=params, epochs=30, patience=4, checkpoint=saved.key)
    assert [report.epoch for report in resumed.reports] == [best + 3, best + 4]
    assert resumed.ended == whole.ended
    assert [item.epoch for item in resumed.saved] == [best]


def flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize(
    ("model", "params", "other", "file"),
    [
        ("mlp", {"depth": 1, "width": 4}, {"depth": 1, "width": 5}, "rows.npz"),
        ("dropout", {"units": 4}, {"units": 5}, "model.keras"),
    ],
)
def test_a_checkpoint_that_is_damaged_or_of_another_model_costs_time_only(
    run: Run,
    training: Callable[..., Training],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    model: str,
    params: dict[str, Any],
    other: dict[str, Any],
    file: str,
) -> None:
    described = training(model, epochs=3, checkpoint_seconds=0.0)
    saved = checkpoint_after(Worker("lost"), described, params, 1)
    path = tmp_path / "artifacts" / saved.key / file
    whole = run(model, params=params)
    content = path.read_bytes()
    for damaged in (b"", content[: len(content) // 2], flip(content)):
        path.write_bytes(damaged)
        caplog.clear()
        result = run(model, params=params, checkpoint=saved.key)
        assert [report.metrics for report in result.reports] == [report.metrics for report in whole.reports]
        assert "training starts at epoch 0" in caplog.text
    path.write_bytes(content)
    result = run(model, params=other, checkpoint=saved.key)
    assert [report.epoch for report in result.reports] == [1, 2, 3]
    assert losses(result) == losses(run(model, params=other))


@pytest.mark.parametrize(
    ("model", "data", "cause", "expected"),
    [
        ("exploding", "prices", "non_finite", "after epoch 1"),
        ("mlp", "broken", "non_finite", "loss was nan"),
        ("mlp", "leaving", "user_error", "sys.exit('no data today')"),
        ("raising", "blobs", "user_error", "KeyError (keras_models.py, line"),
        ("nothing", "blobs", "user_error", "returned None; expected a compiled keras.Model"),
        ("narrow", "blobs", "user_error", "incompatible with the layer"),
        ("hungry", "blobs", "oom", "terabytes"),
        ("picky", "blobs", "infeasible", "The code leaves this point out (keras_models.py, line"),
    ],
)
def test_a_trial_that_fails_says_why(run: Run, model: str, data: str, cause: str, expected: str) -> None:
    result = run(model, data=data, epochs=1)
    ended = result.ended[0]
    assert ended.cause == cause
    assert expected in ended.message
    assert result.saved == ()
    assert len(result.reports) == (1 if cause == "non_finite" else 0)


def test_a_stop_takes_effect_within_a_batch(worker: Worker, training: Callable[..., Training]) -> None:
    described = training(epochs=100_000)
    worker.start(Assignment("a", described, (Member(0, 1, {"depth": 1}, 0),)))
    assert worker.advance(2, 60.0).reports != ()
    worker.advance(100_000, 0.2)
    worker.stop(2.0)


def test_trials_leave_no_graph_behind(training: Callable[..., Training]) -> None:
    """A trial by `fit` makes more than four graphs. One may outlive it for a while, where the collector is late."""
    import gc

    from tensorflow.python.framework.func_graph import FuncGraph

    from workers.worker import Turns

    def graphs() -> int:
        gc.collect()
        return sum(isinstance(item, FuncGraph) for item in gc.get_objects())

    def one(depth: int) -> None:
        trial = Turns(Assignment("graphs", training(epochs=1), (Member(0, 1, {"depth": depth}, depth),)))
        trial.start()
        assert len(trial.advance(1, 60.0, ()).reports) == 1
        assert trial.stop(20.0)

    one(1)
    before = graphs()
    for depth in range(1, 5):
        one(depth)
    assert graphs() - before <= 4


def test_every_activation_and_optimizer_of_the_family_can_be_built(training: Callable[..., Training]) -> None:
    from search_spaces import ACTIVATIONS, OPTIMIZERS
    from workers.data import load
    from workers.trials import models

    described = training()
    assert described.data is not None
    parts = load(described.data, described.import_paths)
    for activation in ACTIVATIONS:
        model = models.mlp({"activation": activation, "dropout": 0.1, "l1": 1e-3, "l2": 0.0}, parts)
        assert model.count_params() > 0
    for optimizer in OPTIMIZERS:
        model = models.mlp({"optimizer": optimizer, "learning_rate": 0.25}, parts)
        assert float(model.optimizer.learning_rate) == 0.25


def test_batches_depend_on_the_seed_and_the_epoch_alone() -> None:
    from workers.data import Part
    from workers.trials.feeding import Feed

    part = Part(np.arange(50, dtype="float32"), np.arange(50))

    def order(seed: int, epoch: int) -> list[int]:
        feed = Feed(part, part, 8, seed)
        feed.begin(epoch)
        sizes = [len(x) for x, _ in feed.train]
        assert sizes == [8] * 6 + [2]
        return [int(y) for _, batch in feed.train for y in batch]

    assert order(1, 0) == order(1, 0)
    assert sorted(order(1, 0)) == list(range(50))
    assert len({tuple(order(seed, epoch)) for seed in (1, 2, 2**40) for epoch in (0, 1, 2)}) == 9
    assert [int(y) for _, batch in Feed(part, part, 8, 1).validation for y in batch] == list(range(50))
