"""Whether pruning was right, as far as the trials tell that it would have stopped and that went on."""

from __future__ import annotations

from dataclasses import dataclass

from db import configurations
from db.engine import Session
from tuner.definitions.definition import StudyDefinition

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Audit:
    """What became of the configurations that pruning would have stopped (trials, where there are no repeats)."""

    spared: int  # so many went on although a decision was against them
    complete: int  # of them
    better: int  # of the complete ones, better than the best of all others
    best: float | None  # the objective of the best of them
    best_of_others: float | None
    sentence: str  # for a person


def audit(s: Session, study_id: int, definition: StudyDefinition) -> Audit | None:
    """None where the study has no `audit`."""
    if not definition.audit:
        return None
    found = configurations.spared(s, study_id, definition.repeats)
    values = [value for value in found.values() if value is not None]
    best_first = configurations.best(s, study_id, definition.direction, definition.repeats, len(found) + 1)
    others = [trial for trial in best_first if trial.number // definition.repeats not in found][:1]
    best_of_others = configurations.mean_of(s, others[0], definition.repeats) if others else None
    return judged(definition, len(found), values, best_of_others)


def judged(definition: StudyDefinition, spared: int, values: list[float], best_of_others: float | None) -> Audit:
    """What the objectives say of those that went on and are complete. Pure."""
    sign = -1.0 if definition.direction == "maximize" else 1.0
    best = min(values, key=lambda value: sign * value) if values else None
    better = [value for value in values if best_of_others is not None and sign * value < sign * best_of_others]
    sentence = _sentence(len(values), len(better), best, best_of_others)
    return Audit(spared, len(values), len(better), best, best_of_others, sentence)


def _sentence(complete: int, better: int, best: float | None, best_of_others: float | None) -> str:
    if best is None:
        return "none of those that would have been pruned is complete"
    that_went_on = f"{complete} that would have been pruned went on"
    if best_of_others is None:
        return f"{that_went_on}, and no other is complete that they could be compared with"
    if better:
        return (
            f"{that_went_on}, and {better} of them became better than the best of the others ({best:.4g} against "
            f"{best_of_others:.4g}): a larger `grace` prunes later"
        )
    # What share of the others would have become the best, so that none of these did in one of twenty such studies.
    at_most = 1 - (1 - CONFIDENCE) ** (1 / complete)
    return (
        f"{that_went_on}, and none became better than the best of the others ({best:.4g} against "
        f"{best_of_others:.4g}). So of those that were pruned at most {at_most:.0%} would have, with {CONFIDENCE:.0%} "
        "confidence"
    )
