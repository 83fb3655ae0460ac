"""Mistakes in a study that only show between two of its fields."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuner.definitions.fields import Fields


def agree(given: Fields, values: Mapping[str, Any]) -> None:
    """Add what is wrong to the problems of `given`. `values`: of every field, each good by itself or its default."""
    points, trials, repeats = len(values["enqueue"]), values["trials"], values["repeats"]
    folds = (values["data"] or {}).get("folds") or 1
    if trials % repeats:
        given.problems.append(uneven(trials, repeats, folds))
    if repeats % folds:
        given.problems.append(
            f"`repeats` is {repeats} and `data.folds` is {folds}: each fold validates a configuration equally often; "
            f"expected {folds}, which it is without being given, or a multiple of it."
        )
    if points * repeats > trials:
        each = f"{repeats} trials" if repeats > 1 else "a trial"
        given.problems.append(
            f"`enqueue` has {points} points and `trials` is {trials}; expected {each} for each point."
        )
    epochs, grace, gpus = values["epochs"], values["grace"], values["gpus_per_trial"]
    if values["pruner"] != "none" and grace >= epochs:
        given.problems.append(
            f"`grace` is {grace} and `epochs` is {epochs}: no trial could ever be pruned; "
            f"expected fewer epochs of grace than epochs, or `pruner: none`."
        )
    if values["audit"] and values["pruner"] == "none" and epochs > 1:
        given.problems.append(
            f"`audit` is {values['audit']:g} and `pruner` is none: no trial is pruned, so there is nothing to look "
            "into; expected a pruner, or `audit: 0`."
        )
    if gpus > 1 and gpus != int(gpus):
        given.problems.append(
            f"`gpus_per_trial` is {gpus:g}: a share of a card is below 1, and more than one card is a whole number; "
            f"expected {int(gpus)} or {int(gpus) + 1}."
        )


def uneven(trials: int, repeats: int, folds: int) -> str:
    """The sentence about a number of trials that leaves a configuration without all of its repeats."""
    often = f"`data.folds` is {folds}" if repeats == folds else f"`repeats` is {repeats}"
    near = [number for number in (trials - trials % repeats, trials - trials % repeats + repeats) if number]
    return (
        f"`trials` is {trials} and {often}: every training is a trial, and each configuration is trained {repeats} "
        f"times; expected a multiple of {repeats}, such as {' or '.join(map(str, near))}."
    )
