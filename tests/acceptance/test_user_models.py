"""Models written for KerasTuner run unchanged: conditional scopes, an own `fit`, an own `train_step`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.invariants import check_invariants
from tuner.api import create_study
from tuner.configuration import Settings
from tuner.study import Study

pytestmark = pytest.mark.tensorflow

MODELS = "examples.keras_tuner_models"


def run(tmp_path: Path, model: str, trials: int = 2, **options: object) -> Study:
    """A study over the digits with this model, run in this process."""
    settings = Settings.load({}, home=tmp_path, launcher="inline")
    study = create_study(
        model.lower().replace("_", "-"),
        model=f"{MODELS}:{model}",
        data="examples.digits:load",
        settings=settings,
        trials=trials,
        epochs=2,
        sampler="random",
        pruner="none",
        **options,  # type: ignore[arg-type]
    ).run(progress=False)
    assert study.summary().counts == {"complete": trials}
    check_invariants(study.database, study.name, str(settings.artifacts))
    return study


def test_a_build_function_with_conditional_scopes_trains_together_and_is_promoted(tmp_path: Path) -> None:
    study = run(tmp_path, "build_model", trials=6, cohort=2, objective="val_accuracy")
    for trial in study.trials:
        layers = int(trial.params["num_layers"])
        assert {name for name in trial.params if name.startswith("units_")} == {f"units_{i}" for i in range(layers)}
        assert ("momentum" in trial.params) == (trial.params["optimizer"] == "sgd")
    assert {trial.params["optimizer"] for trial in study.trials} == {"adam", "sgd"}, "one of them was not tried"
    metrics = study.summary().best_metrics
    assert metrics["val_penalty"] > 0
    assert metrics["val_loss"] == pytest.approx(metrics["val_data_loss"] + metrics["val_penalty"], rel=1e-5)
    structure = {"num_layers", "units_0", "units_1", "units_2", "activation", "dropout", "optimizer"}
    shapes = [{name: trial.params.get(name) for name in structure} for trial in study.trials]
    assert shapes[0::2] == shapes[1::2]
    assert len({trial.params["lr"] for trial in study.trials}) == 6
    version = study.promote("built")
    assert (Path(version.path) / "saved_model.pb").exists()
    assert version.scores["test"]["accuracy"] > 0.1


def test_a_hypermodel_with_its_own_fit(tmp_path: Path) -> None:
    study = run(tmp_path, "DigitsHyperModel")
    assert {"units", "batch_size", "shuffle"} <= set(study.trials[0].params)


def test_a_subclassed_model_with_its_own_train_step_is_tuned_and_promoted(tmp_path: Path) -> None:
    study = run(tmp_path, "build_noisy")
    version = study.promote("noisy")
    assert (Path(version.path) / "saved_model.pb").exists()
    assert version.scores["test"]["accuracy"] > 0.2
