"""What a dry run finds out about stacks: in which parameters members may differ, and whether Keras agrees with one.

A parameter can be lifted when the models built at both ends of its range, or with all of its options, differ only in
numbers that a stack holds per member. Nothing depends on this being right: a worker groups models by what they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces import Space
from workers.cohorts.comparison import Specimen
from workers.cohorts.placing import batch_size, place_group, reason_against_models, specimen_of
from workers.contract import Member, Training
from workers.data import Parts
from workers.failures import CannotStack

OURS = {"batch_size"}  # of all rows of a stack


def liftable(training: Training, space: Space, points: Sequence[Mapping[str, Any]], parts: Parts) -> tuple[str, ...]:
    """The parameters in which the members of a cohort may differ.

    `points` are those of the space's corners at which the user's code builds a small model.

    Raises:
        CannotStack: trials of this study train one by one.
    """
    if reason := reason_against_models(parts):
        raise CannotStack(reason)
    corners = list(points)
    corners.insert(0, corners.pop(1 % len(corners)))  # the highest first: it has the most layers
    specimens = {0: _specimen(corners[0], training, parts)}  # of the corners, as they are needed
    found: dict[str, Any] = {}
    for name in space.free:
        place = next((place for place, corner in enumerate(corners) if name in corner), None)
        if place is None or name in OURS or any(name in parents for parents in space.conditions.values()):
            continue
        if place not in specimens:
            specimens[place] = _specimen(corners[place], training, parts)
        others = [value for value in space.parameters[name].extremes if value != corners[place][name]]
        if all(_is_equal(specimens[place], {**corners[place], name: value}, training, parts) for value in others):
            found[name] = others[0]
    if not found:
        raise CannotStack("no parameter of the space is one in which stacked models may differ")
    moved = {name: found.get(name, value) for name, value in corners[0].items()}
    pair = [specimens[0], _specimen(moved, training, parts, 1)]
    _, reasons = place_group(pair, batch_size(corners[0], parts), training, parts)
    if reasons:
        raise CannotStack(next(iter(reasons.values())))
    return tuple(found)


def _specimen(params: Mapping[str, Any], training: Training, parts: Parts, seed: int = 0) -> Specimen:
    return specimen_of(Member(seed, 0, dict(params), seed), training, parts)


def _is_equal(specimen: Specimen, params: Mapping[str, Any], training: Training, parts: Parts) -> bool:
    try:
        return _specimen(params, training, parts).lifted.rest == specimen.lifted.rest
    except Exception:  # whatever the user's code does there, it is not the same model
        return False
