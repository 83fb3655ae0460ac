"""Which members of an assignment can be trained in stacks, of which structure, and why the others cannot."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from workers.cohorts import family, files
from workers.cohorts import lifted as patterns
from workers.cohorts.comparison import Specimen, differences
from workers.cohorts.lifted import LiftedModels, Pattern, row_of
from workers.cohorts.lifting import lift
from workers.cohorts.source import reason_against, source_of
from workers.cohorts.structure import Structure
from workers.contract import Assignment, Member, Training
from workers.data import Parts
from workers.failures import CannotStack, sentence_of
from workers.trials import keras_files, models
from workers.trials.feeding import head
from workers.trials.seeds import set_seeds
from workers.trials.training import BATCH_SIZE


@dataclass(frozen=True)
class Place:
    """Where a member belongs, and what it begins with."""

    structure: Structure
    hyper: Sequence[float]
    rows: Sequence[Any]  # weights, best weights and slots before the first step


def places(assignment: Assignment, parts: Parts) -> tuple[dict[int, Place], dict[int, str]]:
    """By trial the place of each member that can be in a stack, and for each other one the sentence that says why not.

    A member that has begun alone goes on alone.
    """
    training, members = assignment.training, []
    reasons: dict[int, str] = {}
    for member in assignment.members:
        if member.checkpoint is None or (Path(training.artifacts) / member.checkpoint / files.ROWS).exists():
            members.append(member)
        else:
            reasons[member.trial] = "it began alone, and goes on from its checkpoint"
    place = _families if training.model == "mlp" else _models
    found, others = place(members, training, parts)
    return found, {**reasons, **others}


def _families(members: Sequence[Member], training: Training, parts: Parts) -> tuple[dict[int, Place], dict[int, str]]:
    if reason := reason_against(parts):
        return {}, {member.trial: reason for member in members}
    source, found, reasons = source_of(parts, training.seed), {}, {}
    for member in members:
        try:
            found[member.trial] = Place(*family.begun(member, source))
        except Exception as error:  # alone it raises the same, and is reported
            reasons[member.trial] = sentence_of(error)
    return found, reasons


def _models(members: Sequence[Member], training: Training, parts: Parts) -> tuple[dict[int, Place], dict[int, str]]:
    if reason := reason_against_models(parts):
        return {}, {member.trial: reason for member in members}
    if len(members) == 1 and members[0].checkpoint is None:
        return {}, {members[0].trial: "no other trial was there to train with"}
    reasons: dict[int, str] = {}
    groups: defaultdict[tuple[str, int], list[Specimen]] = defaultdict(list)
    for member in members:
        try:
            specimen = specimen_of(member, training, parts)
            patterns.require_small(specimen.row.size)
        except Exception as error:
            reasons[member.trial] = str(error) if isinstance(error, CannotStack) else sentence_of(error)
            continue
        groups[specimen.lifted.rest, batch_size(member.params, parts)].append(specimen)
    found: dict[int, Place] = {}
    for (_, size), specimens in groups.items():
        placed, others = place_group(specimens, size, training, parts)
        found.update(placed)
        reasons.update(others)
    return found, reasons


def specimen_of(member: Member, training: Training, parts: Parts) -> Specimen:
    """A member's model as it is before its first step. Raises CannotStack, or what the user's code raises."""
    set_seeds(member.seed, keras=True)
    built = models.build(training, member.params, parts)
    if built.fit is not None:
        raise CannotStack("the HyperModel has a fit of its own")
    if not built.model.built:
        built.model(keras_files.first_rows(parts.train, 2))
    return Specimen(member.trial, built.model, lift(built.model), row_of(built.model))


def place_group(
    specimens: Sequence[Specimen], size: int, training: Training, parts: Parts
) -> tuple[dict[int, Place], dict[int, str]]:
    """Places for members whose models have equal rests, and the same batch size."""
    try:
        structure, reasons = _structure(specimens, size, training, parts)
    except CannotStack as error:
        return {}, {specimen.trial: str(error) for specimen in specimens}
    good = [specimen for specimen in specimens if specimen.trial not in reasons]
    return {specimen.trial: _begun(structure, specimen) for specimen in good}, reasons


def _structure(
    specimens: Sequence[Specimen], size: int, training: Training, parts: Parts
) -> tuple[LiftedModels, dict[int, str]]:
    """The members' structure, and who of them cannot have it although its configuration is equal.

    A pattern is compared with Keras when it is met for the first time. Of code of the user's own a configuration need
    not say everything: then every member is compared.
    """
    lifted, custom = specimens[0].lifted, specimens[0].lifted.custom
    known = patterns.known(lifted, parts)
    if isinstance(known, CannotStack):
        raise known
    try:
        pattern = known or _traced(specimens[0].model, parts)
        structure = LiftedModels(pattern, size, training.seed, parts)
        compared = specimens if custom else () if known else specimens[:2]
        reasons = differences(structure, compared)
        if reasons and not custom:
            raise CannotStack(next(iter(reasons.values())))
    except CannotStack as error:
        patterns.keep(lifted, parts, error)
        raise
    patterns.keep(lifted, parts, pattern)
    return structure, reasons


def _traced(model: keras.Model, parts: Parts) -> Pattern:
    try:
        return Pattern(model, parts)
    except CannotStack:
        raise
    except Exception as error:  # whatever a model cannot do outside of Keras' own step
        raise CannotStack(f"its program cannot be traced: {sentence_of(error)[:300]}") from error


def _begun(structure: LiftedModels, specimen: Specimen) -> Place:
    weights = tf.constant(specimen.row)
    slots = structure.pattern.program.slots(weights)
    return Place(structure, specimen.lifted.values, [weights, weights, *slots])


def batch_size(params: Mapping[str, Any], parts: Parts) -> int:
    """Rows per step of a trial of a user's model; of a dataset those of its first batch."""
    if parts.train.dataset is not None:
        return head(parts.train).rows
    return int(params.get("batch_size", BATCH_SIZE))


def reason_against_models(parts: Parts) -> str | None:
    """None where stacks can train users' models on this data, else why not."""
    datasets = [part.dataset for part in (parts.train, parts.validation) if part.dataset is not None]
    for leaf in tf.nest.flatten([dataset.element_spec for dataset in datasets]):
        if not isinstance(leaf, tf.TensorSpec) or leaf.shape.rank is None:
            return "the tf.data.Dataset yields something else than tensors whose number of axes is known"
    if keras.config.dtype_policy().name != "float32":
        return f"Keras computes in {keras.config.dtype_policy().name}"
    return None
