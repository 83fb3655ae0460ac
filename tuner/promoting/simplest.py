"""The razor: of the models that are as good as the best one on the validation rows, the one with the fewest weights.

The one-standard-error rule (Breiman, Friedman, Olshen and Stone 1984, "Classification and Regression Trees", section
3.4.3), on differences: the candidates are scored on the same groups of rows. How their differences from the best one
spread gives the standard error of the whole difference, and a simpler model is as good where it is worse by no more
than that. Rows that are hard are hard for both models and cancel, so a difference is known better than either score.
Where the data is divided into folds, each fold is such a group, and all configurations were scored on it already.

It is a trade, and not a proof that nothing is lost: of models that are truly worse by one standard error about half are
taken. Candidates are the kept models that are smaller than those of all better trials. The test part is not read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db import artifacts, configurations
from db.engine import Database, Session
from db.tables import Artifact, Trial
from tuner.configuration import Settings
from tuner.coordination.housekeeping import smaller
from tuner.coordination.repeats import over_repeats
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput, PromotionFailed
from tuner.payload.user_code import with_code
from tuner.promoting.model_processes import compare_models
from tuner.promoting.paired import Scores, incomparable, worse_by
from tuner.promoting.promotion import Choice, choose


@dataclass(frozen=True)
class Candidate:
    """A trial whose model is smaller than those of all better trials, beside the best one."""

    trial: int
    params: dict[str, Any]
    weights: int  # numbers in its model
    value: float  # its objective; of several folds the mean over them
    worse_by: float  # than the best one; negative: better, as a single one of several repeats may be
    standard_error: float  # of `worse_by`, from the spread over groups of validation rows, or over folds
    as_good: bool  # worse by no more than that


@dataclass(frozen=True)
class Simplest:
    """Which trial to take where of models that are as good the simplest is wanted."""

    study: str
    objective: str
    best: int  # number of the best trial
    trial: int  # number of the simplest that is as good; that of the best where there is none
    candidates: tuple[Candidate, ...]  # the best one first, then by size
    sentence: str  # for a person


def simplest(database: Database, settings: Settings, study: str) -> Simplest:
    """The smallest of a study's kept models that are as good as its best one, as far as the validation rows can tell.

    Raises:
        UnknownName: no such study.
        NothingToPromote: no completed trial with a finite objective, or its model was not kept.
        InvalidInput: its models cannot be compared.
        PromotionFailed: the process that compares them failed.
    """
    choice = choose(database, study, None)
    _require_comparable(choice)
    with database.read() as s:
        definition, asked = choice.definition, artifacts.with_models(choice.study.id)
        kept = configurations.best(s, choice.study.id, definition.direction, definition.repeats, None, asked)
        models = [(trial, artifact) for trial in smaller(kept) if (artifact := artifacts.model(s, trial.id))]
        if definition.folds > 1:
            return judged_by_folds(definition, [(trial, _values(s, definition, trial)) for trial, _ in models])
    own = with_code(database, settings, choice.study)
    try:
        scores = compare_models(definition, models, own) if models[1:] else [{}]
    except PromotionFailed as failed:
        raise PromotionFailed(f"{failed} {_by_hand(study)}") from failed
    return judged(definition, models, scores)


def judged(definition: StudyDefinition, models: Sequence[tuple[Trial, Artifact]], scores: Sequence[Scores]) -> Simplest:
    """What the scores say. Pure.

    Args:
        definition: the study's.
        models: the best trial first, then ones of ever smaller models.
        scores: of each of them; not looked at where the best one is the only one.

    Raises InvalidInput where they hold too little to tell.
    """
    best = models[0][0]
    candidates = [_candidate(definition, best, _value(best), _value(best), 0.0)]
    for (trial, _), found in zip(models[1:], scores[1:], strict=True):
        error = _standard_error(definition, trial.number, scores[0], found)
        candidates.append(_candidate(definition, trial, _value(trial), _value(best), error))
    return _simplest(definition, candidates, "on the validation rows")


def judged_by_folds(definition: StudyDefinition, models: Sequence[tuple[Trial, Sequence[float]]]) -> Simplest:
    """What the folds of the data say. Pure.

    Args:
        definition: the study's.
        models: a trial of the best configuration first, then ones of ever smaller models, each with the objective of
            its configuration in every repeat.
    """
    best, of_best = models[0]
    folds = definition.folds
    mean = over_repeats(of_best, folds).mean
    candidates = [_candidate(definition, best, mean, mean, 0.0)]
    for trial, values in models[1:]:
        differences = over_repeats([its - bests for its, bests in zip(values, of_best, strict=True)], folds)
        error = differences.standard_error or 0.0
        candidates.append(_candidate(definition, trial, mean + differences.mean, mean, error))
    return _simplest(definition, candidates, f"over the {folds} folds")


def _simplest(definition: StudyDefinition, candidates: Sequence[Candidate], where: str) -> Simplest:
    simple = [item for item in candidates if item.as_good][-1]
    return Simplest(
        study=definition.name,
        objective=definition.objective,
        best=candidates[0].trial,
        trial=simple.trial,
        candidates=tuple(candidates),
        sentence=_sentence(definition.objective, candidates, simple, where),
    )


def _require_comparable(choice: Choice) -> None:
    if problem := incomparable(choice.definition, choice.trial):
        raise InvalidInput(f"{problem} {_by_hand(choice.study.name)}")


def _by_hand(study: str) -> str:
    return f"Choose by hand: tuner model promote {study} --trial N"


def _standard_error(definition: StudyDefinition, number: int, best: Scores, other: Scores) -> float:
    """Of the mean of a trial's differences from the best one."""
    difference = worse_by(definition, best, other)
    if difference is None:
        metric = definition.objective.removeprefix("val_")
        raise InvalidInput(
            f"Study {definition.name!r}: scored again, trial {number} has no finite {metric!r} on two groups of "
            f"validation rows, so nothing says how far a difference may be off. {_by_hand(definition.name)}"
        )
    return difference.standard_error or 0.0


def _value(trial: Trial) -> float:
    return float(trial.value or 0.0)


def _values(s: Session, definition: StudyDefinition, trial: Trial) -> list[float]:
    """The objective of a trial's configuration in every repeat."""
    return [_value(item) for item in configurations.repeats_of(s, trial, definition.repeats)]


def _candidate(
    definition: StudyDefinition, trial: Trial, value: float, best: float, standard_error: float
) -> Candidate:
    worse_by = best - value if definition.direction == "maximize" else value - best
    return Candidate(
        trial=trial.number,
        params=trial.params,
        weights=trial.weights or 0,
        value=value,
        worse_by=worse_by,
        standard_error=standard_error,
        as_good=worse_by <= standard_error,
    )


def _sentence(objective: str, candidates: Sequence[Candidate], simple: Candidate, where: str) -> str:
    best = candidates[0]
    if simple is best:
        others = f"is as good {where}" if candidates[1:] else "was kept (a pruned trial has none)"
        return f"Trial {best.trial}, the best, has {best.weights:,} weights, and no smaller model {others}."
    by = f" by {abs(simple.worse_by):.2g} ± {simple.standard_error:.2g}"
    differs = f"worse{by}" if simple.worse_by > 0 else f"better{by}" if simple.worse_by < 0 else "the same"
    return (
        f"Trial {simple.trial} has {simple.weights:,} weights where trial {best.trial}, the best, has "
        f"{best.weights:,}, and its {objective} is {differs} {where}: as good, as far as these can tell."
    )
