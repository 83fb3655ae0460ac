"""The honest number: what the winner scores on rows that had no part in choosing it, beside the score that chose it.

The best of many validation scores is too good: it won by its quality and by luck on these rows, and the more trials
there were, the more by luck. The test part has chosen nothing, so what the winner scores there is what to expect.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db import configurations, events, reports
from db.engine import Session
from db.tables import Trial
from tuner.coordination.repeats import Estimate, over_repeats, state_of
from tuner.definitions.definition import StudyDefinition

READ = "test_part_read"  # the event that counts a reading of the test part, and keeps what came of it
BEYOND_CHANCE = 2.0  # standard errors of a difference: chance alone makes one in 44 look so much worse


@dataclass(frozen=True)
class FinalScore:
    """The winner's score on unseen rows, beside the one that chose it."""

    objective: str
    trial: int
    chosen_by: float  # its objective, on the validation rows; of several folds the mean over them
    among: int  # configurations that it was chosen among
    value: float  # the same metric on the test rows
    standard_error: float | None  # of `value`, computed from the rows; None where that is not known
    rows: int | None  # in the test part, where that is known
    flattered: bool | None  # whether `value` is worse by more than chance; None where standard errors are not known
    sentence: str  # all of it, for a person


def over_folds(s: Session, definition: StudyDefinition, trial: Trial) -> Estimate | None:
    """The objective of a trial's configuration over the folds of the data.

    None where there are none, or not each of them has a trial that is complete.
    """
    if definition.folds == 1:
        return None
    same = configurations.repeats_of(s, trial, definition.repeats)
    values = [item.value for item in same if item.value is not None]
    ranked = state_of([item.state for item in same], definition.repeats) == "complete"
    return over_repeats(values, definition.folds) if ranked and len(values) == definition.repeats else None


def final_score(
    definition: StudyDefinition, trial: Trial, among: int, scores: Mapping[str, Any], folds: Estimate | None
) -> FinalScore | None:
    """What the scores of a trial's model say about its objective; None where they do not hold it.

    Args:
        trial: complete, with a finite value.
        among: configurations that were ranked.
        folds: what `over_folds` says, which chose it then.
        scores: as workers/exporting/export.py answers: `test`, `standard_errors` and `rows` by part; any of them may
            be absent.
    """
    metric = definition.objective.removeprefix("val_")
    value, chosen_by = (scores.get("test") or {}).get(metric), folds.mean if folds else trial.value
    if chosen_by is None or value is None or not math.isfinite(value):
        return None
    error, other = (_errors(scores, part).get(metric) for part in ("test", "validation"))
    other = folds.standard_error if folds else other
    worse = value - chosen_by if definition.direction == "minimize" else chosen_by - value
    flattered = None if error is None or other is None else worse > BEYOND_CHANCE * math.hypot(error, other)
    rows = scores.get("rows", {}).get("test")
    return FinalScore(
        objective=definition.objective,
        trial=trial.number,
        chosen_by=chosen_by,
        among=among,
        value=value,
        standard_error=error,
        rows=rows,
        flattered=flattered,
        sentence=_sentence(
            definition.objective,
            f"{chosen_by:.4g}{_chose(folds, definition)}",
            among,
            f"{value:.4g}{_about(error)} on {f'{rows} rows' if rows is not None else 'the test rows'}",
            flattered,
            refit="refit" in scores,
        ),
    )


def found(s: Session, definition: StudyDefinition, trial: Trial, among: int) -> FinalScore | None:
    """The final score that was read last for a trial, without reading the test part; None where it never was.

    A loop that owns its data says it by itself: a metric `test_loss` beside its objective `val_loss`.
    """
    if definition.loop is not None:
        best = next((report for report in reports.curve(s, trial.id) if report.epoch == trial.best_epoch), None)
        reported = {} if best is None else best.metrics
        test = {name.removeprefix("test_"): value for name, value in reported.items() if name.startswith("test_")}
        return final_score(definition, trial, among, {"test": test}, None)
    event = events.latest(s, READ, trial.id)
    folds = over_folds(s, definition, trial)
    return None if event is None else final_score(definition, trial, among, event.data, folds)


def ranked(counts: Mapping[str, int], repeats: int) -> int:
    """How many configurations a study has compared. `counts`: its trials per state."""
    return math.ceil((counts.get("complete", 0) + counts.get("pruned", 0)) / repeats)


def without_test_part(definition: StudyDefinition, checked: Mapping[str, Any]) -> str | None:
    """Why a study has no rows for a final score, and how the next one gets some; None where it has a test part.

    `checked`: the report of its dry run.
    """
    if definition.loop is not None:
        wanted = f"test_{definition.objective.removeprefix('val_')}"
        return f"its loop reported no metric such as {wanted} beside its objective {definition.objective}."
    if "test" in checked.get("data", {}).get("rows", {}):
        return None
    if definition.folds > 1:
        return (
            "every row chose it, each in its fold. In the next study `data.test: 0.2` keeps a fifth of them for this; "
            "where the data comes in parts, give a test part beside them."
        )
    if "batches" in checked.get("data", {}):
        return "every validation row chose it. In the next study give a third dataset, the test part, beside the two."
    return "every validation row chose it. In the next study `data.held_back: 0.33` keeps a third of them for this."


def _errors(scores: Mapping[str, Any], part: str) -> Mapping[str, float]:
    return scores.get("standard_errors", {}).get(part) or {}


def _about(error: float | None) -> str:
    return "" if error is None else f" ± {error:.2g}"


def _chose(folds: Estimate | None, definition: StudyDefinition) -> str:
    return f"{_about(folds.standard_error)} over {definition.folds} folds, which" if folds else " on the rows that"


def _sentence(objective: str, chosen: str, among: int, unseen: str, flattered: bool | None, *, refit: bool) -> str:
    if refit:
        return (
            f"{objective} was {chosen} chose these parameters among {among}; trained again on all rows, the model has "
            f"{unseen} that had no part in it. Expect the latter."
        )
    verdict = {True: ": worse by more than chance", False: ": no worse than by chance", None: ""}[flattered]
    compared = f"{objective} is {chosen} chose it among {among}, and {unseen} that had no part in it"
    return f"{compared}{verdict}. Expect the latter."
