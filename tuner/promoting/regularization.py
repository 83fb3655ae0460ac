"""What regularization did to a study's best models: their gap, their weights, what they can do without.

The validation loss alone says that one lambda is better than another, not what it did. Beside it stand what the model
scores on rows that it was trained on, how large its weights are, how many of them can be set to zero before the
objective is worse, and which units say the same for every row.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from db import artifacts, configurations
from db.engine import Database, Session
from db.tables import Trial
from search_spaces import Lambda
from tuner.configuration import Settings
from tuner.coordination.repeats import Estimate
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.payload.user_code import with_code
from tuner.promoting.model_processes import look_into_models
from tuner.promoting.paired import Scores, incomparable, score_of, worse_by
from tuner.promoting.promotion import Choice, choose
from workers.exporting.layer import Layer

MOST = 5  # models that are looked into, the best ones
NOTHING = 0.1  # of the standard error of a score: a change that is less than that is none

_REGULARIZES = re.compile(r"l1|l2|lambda|decay|drop|noise|norm|regular|sparsity", re.IGNORECASE)


@dataclass(frozen=True)
class Regularized:
    """What regularization did to the model of one trial."""

    trial: int
    params: dict[str, Any]  # those that regularize
    training: float  # the objective on rows that it was trained on, about as many as validate
    validation: float  # and on validation rows; both without dropout and other noise
    gap: float  # by how much it is worse on validation rows
    gap_error: float | None  # standard error of that; None: there are too few rows to say
    penalty: float | None  # of L1 and L2; None: its training step computes none
    weights: int  # numbers in its model
    rms: float | None  # root mean square of its kernels' weights
    zero: float  # the share of its kernels' weights that can be set to zero, the smallest ones
    worse_by: float  # in the objective, with so many of them zero; negative: better
    standard_error: float  # of that
    constant: int | None  # units of hidden and output layers that say the same for every validation row
    units: int | None  # of so many
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Regularization:
    """What regularization did to the best models of a study."""

    study: str
    objective: str
    models: tuple[Regularized, ...]  # the best one first
    sentence: str  # for a person, about the best one


def regularization(database: Database, settings: Settings, study: str, trial: int | None = None) -> Regularization:
    """Look into the kept models of a study, its best five, or into that of one trial.

    Raises:
        UnknownName: no such study.
        InvalidInput: no such trial, or its models cannot be scored on validation rows.
        NothingToPromote: no completed trial with a finite objective, or its model was not kept.
        PromotionFailed: the process that looks into them failed.
    """
    choice = chosen(database, study, trial)
    definition = choice.definition
    with database.read() as s:
        kept = [choice.trial] if trial is not None else _kept(s, choice.study.id, definition)
        models = [(item, artifact) for item in kept if (artifact := artifacts.model(s, item.id))]
    found = look_into_models(definition, models, with_code(database, settings, choice.study))
    judged = tuple(_judged(definition, item, what) for (item, _), what in zip(models, found, strict=True))
    return Regularization(study, definition.objective, judged, _sentence(definition.objective, judged[0]))


def chosen(database: Database, study: str, trial: int | None = None) -> Choice:
    """The best trial, or the one that is named. Raises what `regularization` does before it takes its time."""
    choice = choose(database, study, trial)
    if problem := incomparable(choice.definition, choice.trial):
        raise InvalidInput(f"{problem} What its trials reported: tuner study tensorboard {study}")
    return choice


def _kept(s: Session, study_id: int, definition: StudyDefinition) -> list[Trial]:
    asked = artifacts.with_models(study_id)
    return configurations.best(s, study_id, definition.direction, definition.repeats, MOST, asked)


def _judged(definition: StudyDefinition, trial: Trial, found: Mapping[str, Any]) -> Regularized:
    layers = tuple(Layer(**layer) for layer in found["layers"])
    _, whole = found["zeroed"][0]
    training, validation = score_of(definition, found["training"]), score_of(definition, whole)
    if training is None or validation is None or trial.value is None:
        raise InvalidInput(_unknown(definition, trial.number))
    share, difference = can_be_zero(definition, trial.number, found["zeroed"])
    penalty = score_of(definition, whole, "penalty")
    told = [layer for layer in layers if layer.constant is not None and layer.units is not None]
    errors = (training.standard_error, validation.standard_error)
    return Regularized(
        trial=trial.number,
        params={name: value for name, value in trial.params.items() if _regularizes(definition, name)},
        training=training.mean,
        validation=trial.value,
        gap=_gap(definition, training.mean, trial.value),
        gap_error=None if None in errors else math.hypot(*(error or 0.0 for error in errors)),
        penalty=None if penalty is None else penalty.mean,
        weights=trial.weights or 0,
        rms=_rms(layers),
        zero=share,
        worse_by=difference.mean,
        standard_error=difference.standard_error or 0.0,
        constant=sum(layer.constant or 0 for layer in told) if told else None,
        units=sum(layer.units or 0 for layer in told) if told else None,
        layers=layers,
    )


def _gap(definition: StudyDefinition, training: float, validation: float) -> float:
    """By how much validation is worse; 0 where they differ by the rounding of single precision alone."""
    if math.isclose(training, validation, rel_tol=1e-6):
        return 0.0
    return training - validation if definition.direction == "maximize" else validation - training


def can_be_zero(
    definition: StudyDefinition, number: int, zeroed: Sequence[tuple[float, Scores]]
) -> tuple[float, Estimate]:
    """Up to which share of zeros a model is as good as it was, and by how much it is worse then. Pure.

    As good is worse by no more than one standard error of the difference, as of the simplest model, or by less than a
    tenth of the standard error of the score itself: models that are nearly equal answer each row nearly alike, so that
    their difference has hardly any error, and each change that says nothing would count.

    Args:
        definition: the study's.
        number: the trial's.
        zeroed: shares, the first one 0, and what the model scores on each group of rows with so many zeros.

    Raises InvalidInput where the scores hold too little to tell.
    """
    _, whole = zeroed[0]
    score, best = score_of(definition, whole), (0.0, Estimate(0.0, 0.0))
    least = NOTHING * (score.standard_error or 0.0) if score is not None else 0.0
    for share, scores in zeroed:
        difference = worse_by(definition, whole, scores)
        if difference is None and share:  # so many zeros and it answers nothing finite
            break
        if difference is None:
            raise InvalidInput(_unknown(definition, number))
        if difference.mean > max(least, difference.standard_error or 0.0):
            break
        best = (share, difference)
    return best


def _unknown(definition: StudyDefinition, number: int) -> str:
    metric = definition.objective.removeprefix("val_")
    return (
        f"Study {definition.name!r}: scored again, trial {number} has no finite {metric!r} on two groups of rows, "
        "so nothing says what its weights are good for."
    )


def _regularizes(definition: StudyDefinition, name: str) -> bool:
    domain = definition.space.parameters.get(name) if definition.space is not None else None
    return isinstance(domain, Lambda) or bool(_REGULARIZES.search(name))


def _rms(layers: Sequence[Layer]) -> float | None:
    count = sum(layer.kernel for layer in layers)
    squares = sum(layer.kernel * layer.rms**2 for layer in layers if layer.rms is not None)
    return math.sqrt(squares / count) if count else None


def _sentence(objective: str, best: Regularized) -> str:
    error = "" if best.gap_error is None else f" ± {best.gap_error:.2g}"
    sentences = [
        f"The {objective.removeprefix('val_')} of trial {best.trial} is {best.training:.4g} on rows that it was "
        f"trained on and {best.validation:.4g} on validation rows, a gap of {best.gap:.2g}{error}."
    ]
    by = f"{abs(best.worse_by):.2g} ± {best.standard_error:.2g}"
    change = f"worse by {by}" if best.worse_by > 0 else f"better by {by}" if best.worse_by < 0 else "the same"
    if best.zero:
        sentences.append(
            f"{best.zero:.0%} of its weights can be set to zero, the smallest ones: {objective} is then "
            f"{change} on the validation rows."
        )
    else:
        sentences.append("Not even a tenth of its weights can be set to zero without harm that shows.")
    if best.constant:
        sentences.append(f"{best.constant} of its {best.units} units say the same for every validation row.")
    return " ".join(sentences)
