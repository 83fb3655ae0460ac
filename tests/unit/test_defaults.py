"""Defaults that follow from another field, and how two studies differ."""

from __future__ import annotations

import pytest

from tuner.definitions.defaults import direction_of
from tuner.definitions.definition import parse

GOOD = {"name": "digits", "data": "examples.digits:load", "space": {"family": "mlp"}}


@pytest.mark.parametrize(
    ("objective", "direction"),
    [
        ("val_accuracy", "maximize"),
        ("val_sparse_categorical_accuracy", "maximize"),
        ("val_acc", "maximize"),
        ("auc", "maximize"),
        ("val_auc_2", "maximize"),
        ("val_precision", "maximize"),
        ("val_recall", "maximize"),
        ("val_f1_score", "maximize"),
        ("val_r2_score", "maximize"),
        ("val_cosine_similarity", "maximize"),
        ("val_mean_io_u", "maximize"),
        ("reward", "maximize"),
        ("val_loss", "minimize"),
        ("val_data_loss", "minimize"),
        ("val_auc_loss", "minimize"),
        ("val_mean_absolute_error", "minimize"),
        ("val_mape", "minimize"),
        ("val_mae", "minimize"),
        ("val_rmse", "minimize"),
        ("anything", "minimize"),
    ],
)
def test_direction_follows_the_name_of_the_objective(objective: str, direction: str) -> None:
    assert direction_of(objective) == direction
    other = "maximize" if direction == "minimize" else "minimize"
    assert parse({**GOOD, "objective": objective}).direction == direction
    assert parse({**GOOD, "objective": objective, "direction": other}).direction == other


def test_differences_are_named_with_both_values() -> None:
    old = parse({**GOOD, "trials": 40, "data": "examples.digits:load"})
    new = parse({**GOOD, "trials": 80, "data": {"function": "examples.digits:load", "seed": 3}, "max_seconds": 60})
    sentences = "\n".join(old.differences(new))
    assert "`trials` is 40 in the study 'digits', and 80 was given." in sentences
    assert "`data.seed` is 0" in sentences
    assert "`max_seconds` is not set" in sentences
    assert "60.0 was given" in sentences
    assert len(old.differences(new)) == 3, "max_failures follows from trials"
    assert old.differences(old) == []
    assert old.hash != new.hash


def test_a_difference_that_follows_from_another_one_is_not_named() -> None:
    old = parse({**GOOD, "objective": "val_loss", "epochs": 1})
    new = parse({**GOOD, "objective": "val_accuracy", "epochs": 9})
    assert [sentence.split()[0] for sentence in old.differences(new)] == ["`objective`", "`epochs`"]
    odd = parse({**GOOD, "objective": "val_accuracy", "epochs": 9, "direction": "minimize", "max_failures": 7})
    assert [sentence.split()[0] for sentence in new.differences(odd)] == ["`direction`", "`max_failures`"]
