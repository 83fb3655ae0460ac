"""Why a trial became what it is, read from its rows: attempts, reports, decisions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from db import decisions, reports, trials
from db.engine import Database
from db.tables import Attempt, Decision, Report
from tuner.definitions.definition import StudyDefinition
from tuner.reporting.results import TrialResult, study_row, trial_result


@dataclass(frozen=True)
class AttemptStory:
    """One attempt at a trial."""

    token: int
    worker: str
    cause: str | None
    process_end: str | None  # how its worker's process ended under it, e.g. "by signal SIGKILL"
    trained: str | None  # how its worker trained it, in words; None: it has not said so
    line: str  # when, where and how it ended, in words
    log: str


@dataclass(frozen=True)
class EpochStory:
    """What was reported after one epoch."""

    epoch: int
    metrics: dict[str, float]
    seconds: float
    token: int


@dataclass(frozen=True)
class DecisionStory:
    """One decision at a rung, with what it was taken against."""

    epoch: int
    action: str
    rule: str
    value: float | None
    threshold: float | None
    rivals: list[tuple[int, float]]  # trial number, objective; the best of them
    reason: str


@dataclass(frozen=True)
class TrialStory:
    """Everything that is known about one trial."""

    result: TrialResult
    seed: int
    waited: int | None  # epochs without a better one, where these ended it before its last epoch
    fold: str | None  # of the data, which validated it: "2 of 5"; None: the same rows validated all trials
    attempts: list[AttemptStory] = field(default_factory=list)
    reports: list[EpochStory] = field(default_factory=list)
    decisions: list[DecisionStory] = field(default_factory=list)


def trial_story(database: Database, study: str, number: int) -> TrialStory:
    """Read a trial's rows. Raises UnknownName."""
    result = trial_result(database, study, number)
    row = study_row(database, study)
    definition, unreadable = StudyDefinition.from_json_to_show(row.definition)
    alone = None if unreadable else definition.alone(row.checked)
    with database.read() as s:
        trial = trials.get(s, row.id, number)
        if trial is None:
            raise LookupError(number)
        return TrialStory(
            result,
            trial.seed,
            _waited(result, definition),
            _fold(definition, number),
            [_attempt(item, alone) for item in trials.attempts(s, trial.id)],
            [_report(item) for item in reports.curve(s, trial.id)],
            [_decision(item) for item in decisions.of(s, trial.id)],
        )


def explain(story: TrialStory) -> list[str]:
    """A few sentences: what happened to the trial, and which decision or cause it was."""
    result = story.result
    head = f"Trial {result.number} is {result.state}"
    if result.value is not None:
        head += f" with {result.value:.6g} at epoch {result.best_epoch}"
    sentences = [f"{head}, after {result.epochs} epoch{'s' if result.epochs != 1 else ''}."]
    if story.waited is not None:
        epochs = f"{story.waited} epoch{'s' if story.waited != 1 else ''}"
        sentences.append(f"It ended by itself: {epochs} without a better one (`patience`).")
    if result.message:
        sentences.append(result.message)
    if result.cause:
        sentences.append(f"Cause: {result.cause}.")
    if len(story.attempts) > 1:
        sentences.append(f"It took {len(story.attempts)} attempts:")
        sentences += [f"  attempt {attempt.token}: {attempt.line}" for attempt in story.attempts]
    log = next((attempt.log for attempt in reversed(story.attempts) if attempt.log), "")
    return [*sentences, *(["Last lines of its log:", log] if log and result.state == "failed" else [])]


def _waited(trial: TrialResult, study: StudyDefinition) -> int | None:
    if trial.state != "complete" or study.patience is None or trial.epochs >= study.epochs:
        return None
    waited = trial.epochs - (trial.best_epoch or 0)
    return waited if waited >= study.patience else None


def _fold(study: StudyDefinition, number: int) -> str | None:
    return f"{number % study.folds + 1} of {study.folds}" if study.folds > 1 else None


def _attempt(row: Attempt, alone: str | None) -> AttemptStory:
    parts = [f"started {row.started_at.astimezone():%Y-%m-%d %H:%M:%S}"]
    if row.resumed_from:
        parts.append(f"resumed from epoch {row.resumed_from}")
    if row.ended_at is not None:
        parts.append(f"ended after {(row.ended_at - row.started_at).total_seconds():.1f} s")
    if row.cause:
        parts.append(f"{row.cause}: {row.message}")
    trained, line = row.trained, ", ".join(parts)
    if trained and trained.startswith("alone") and alone and alone not in trained:
        trained = f"{trained}; no trial of the study has company, because {alone}"
    return AttemptStory(row.token, row.worker, row.cause, row.process_end, trained, line, row.log or "")


def _report(row: Report) -> EpochStory:
    return EpochStory(row.epoch, row.metrics, row.seconds, row.token)


def _decision(row: Decision) -> DecisionStory:
    rivals: list[tuple[int, float]] = [(int(number), float(value)) for number, value in _pairs(row.rivals)]
    return DecisionStory(row.epoch, row.action, row.rule, row.value, row.threshold, rivals, row.reason)


def _pairs(rivals: Any) -> list[tuple[Any, Any]]:
    return [tuple(pair) for pair in rivals or []]
