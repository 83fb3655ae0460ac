"""The dry run: what it finds out about a good study, and its sentence for each mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces import Choice, Int, Space, mlp
from workers.contract import CheckReport, Training
from workers.worker import Worker

pytestmark = pytest.mark.tensorflow

UNITS = Space({"units": Int(4, 8)})


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., CheckReport]:
    monkeypatch.setattr(sys, "path", list(sys.path))

    def go(
        model: str = "mlp",
        space: Space | None = None,
        data: str = "blobs",
        module: str = "keras_models",
        **changes: Any,
    ) -> CheckReport:
        values: dict[str, Any] = {
            "study": "dry",
            "model": model if model == "mlp" else f"{module}:{model}",
            "loop": False,
            "space": space.to_json() if space else None,
            "data": {"function": f"keras_models:{data}"},
            "objective": "val_data_loss",
            "direction": "minimize",
            "epochs": 3,
            "patience": None,
            "checkpoint_seconds": 0.0,
            "artifacts": str(tmp_path / "artifacts"),
            "import_paths": (str(Path(__file__).parent),),
        }
        report = Worker("w").check(Training(**{**values, **changes}))
        assert not (tmp_path / "artifacts").exists()  # a dry run leaves nothing behind
        return report

    return go


def test_a_good_study_has_no_problems(check: Callable[..., CheckReport]) -> None:
    space = mlp(depth=(1, 2), width=(4, 8))
    report = check(space=space)
    assert report.problems == ()
    assert {"loss", "val_accuracy", "data_loss", "penalty", "val_data_loss", "val_penalty"} <= set(report.metrics)
    assert report.space == space.to_json()
    assert report.data["rows"] == {"train": 90, "validation": 30}
    smallest, largest = report.parameters
    assert 0 < smallest < largest
    assert CheckReport.from_json(report.to_json()) == report
    assert (report.together or 0) > 16


def test_the_space_is_read_from_a_build_function_with_its_scopes(check: Callable[..., CheckReport]) -> None:
    report = check("build")
    assert report.problems == ()
    assert report.space is not None
    space = Space.from_json(report.space)
    assert set(space.parameters) == {"kind", "layers", "units_0", "units_1", "lr"}
    assert space.active({"kind": "plain", "lr": 0.01}) == ("kind", "lr")


def test_a_users_models_are_looked_at_for_what_a_stack_can_vary(check: Callable[..., CheckReport]) -> None:
    report = check("noisy", module="cohort_models")
    assert report.problems == ()
    assert report.liftable == ("noise", "l1", "l2", "dropout", "rate")
    assert report.alone is None
    report = check("averaged", module="cohort_models")
    assert report.problems == ()
    assert (report.liftable, report.alone) == ((), "the optimizer averages weights (use_ema=True)")


def test_a_model_that_memory_holds_but_once_trains_alone(
    check: Callable[..., CheckReport], monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.launchers import machine

    space = mlp(depth=1, width=(4, 1000))
    monkeypatch.setattr(machine, "memory", lambda: machine.cpus() * 8_003 * 48 * 3)  # half of it for one and a half
    report = check(space=space)
    assert report.problems == ()
    assert report.parameters[1] == 8_003
    assert report.together == 1
    assert report.alone == "a model has 8,003 weights, and a worker's share of memory has no room for two"


def test_the_space_of_a_hypermodel_holds_what_its_fit_asks_for(check: Callable[..., CheckReport]) -> None:
    report = check("OwnFit")
    assert report.problems == ()
    assert report.space is not None
    assert set(report.space["parameters"]) == {"units", "batch_size", "epochs"}


def test_tf_data_and_models_built_on_their_first_call_pass(check: Callable[..., CheckReport]) -> None:
    assert check("build", data="batches").problems == ()
    assert check("own_step", UNITS).problems == ()
    assert check("own_parts", UNITS).problems == ()


@pytest.mark.parametrize(
    ("units", "models"),
    [
        ((16, 32), 2),  # both corners
        ((16, 33), 1),  # the lower one
        ((4, 40), 1),  # none of them, so one that is drawn
    ],
)
def test_what_the_users_code_leaves_out_is_no_mistake(
    check: Callable[..., CheckReport], units: tuple[int, int], models: int
) -> None:
    space = Space({"units": Int(*units)})
    report = check("picky", space)
    assert report.problems == ()
    assert len({*report.parameters}) == models


def test_the_space_is_read_although_the_defaults_are_left_out(check: Callable[..., CheckReport]) -> None:
    report = check("picky")
    assert report.problems == ()
    assert report.space is not None
    assert set(report.space["parameters"]) == {"units", "activation"}


@pytest.mark.parametrize(
    ("model", "changes", "expected"),
    [
        ("mlp", {"space": mlp(depth=1), "objective": "val_acuracy"}, "Did you mean 'val_accuracy'"),
        ("mlp", {}, "needs a space"),
        ("mlp", {"space": Space({"widht": Int(4, 8)})}, "no parameter widht; it has depth, width"),
        ("mlp", {"space": mlp(depth=1), "data": "broken"}, "NaN or infinite after two batches at every corner"),
        ("mlp", {"space": mlp(depth=1), "data": "blosb"}, "Did you mean 'blobs'"),
        ("biuld", {"space": UNITS}, "Did you mean 'build'"),
        ("nothing", {"space": UNITS}, "returned None; expected a compiled keras.Model"),
        ("uncompiled", {"space": UNITS}, "is not compiled. Call model.compile"),
        ("lambda_layer", {"space": UNITS}, "Lambda layer, 'lambda'"),
        ("narrow", {"space": UNITS}, "received input with shape (None, 4)"),
        ("raising", {"space": UNITS}, "cannot be built with units=4: KeyError (keras_models.py, line"),
        ("raising", {"space": UNITS}, "have it raise keras_tuner.errors.FailedTrialError where no trial is wanted."),
        (
            "picky",
            {"space": Space({"units": Int(33, 40)})},
            "leaves out all 2 corners of the space and 50 points drawn from it. Narrow the space. The code leaves this "
            "point out (keras_models.py, line",
        ),
        ("raising", {}, "The search space cannot be read from the model: KeyError"),
        (
            "few_classes",
            {"space": UNITS},
            "on this data with units=4: InvalidArgumentError: Received a label value of ",
        ),
        (
            "per_class",
            {"space": UNITS, "data": "one_hot", "objective": "val_f1_score"},
            "does not log the objective 'val_f1_score'; it logs data_loss, loss, penalty, val_data_loss, val_loss, "
            "val_penalty. It has a number for each class",
        ),
        (
            "build",
            {"data": "batch_by_batch"},
            "batch_by_batch: x is a PyDataset, expected arrays, or a tf.data.Dataset",
        ),
        ("few_classes", {}, "on this data with units=4: InvalidArgumentError: Received a label value"),
        ("own_loss", {"space": UNITS}, "where train_step and test_step call self.compute_loss"),
        (
            "own_tracker",
            {"space": UNITS, "objective": "val_loss"},
            "'val_loss' is exactly 0 for each model of the dry run, so it cannot tell them apart. Where train_step "
            "updates a loss of its own, test_step has to update it, too. Or rank on val_data_loss",
        ),
        ("dropout", {"space": Space({"units": Int(4, 8), "unitz": Choice([1, 2])})}, "has unitz, which"),
        ("Needy", {"space": UNITS}, "cannot be created without arguments"),
        ("np", {"space": UNITS}, "is a module; expected a function build(hp) or a HyperModel"),
    ],
)
def test_each_mistake_has_its_sentence(
    check: Callable[..., CheckReport], model: str, changes: dict[str, Any], expected: str
) -> None:
    (problem,) = check(model, **changes).problems
    assert expected in problem
    assert "Traceback" not in problem
    assert "\n" not in problem
    assert "\x1b" not in problem
