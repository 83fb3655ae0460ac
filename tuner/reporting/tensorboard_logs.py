"""A study's trials as TensorBoard reads them: curves for its Scalars tab, and parameters for its HParams tab.

    FOLDER/                       the parameters of the study and its objective
    FOLDER/trial-17/              this trial's parameters and state, and `best_OBJECTIVE`: the best so far by epoch
    FOLDER/trial-17/train/        `epoch_loss`, ...: folders and names are those of Keras' own callback,
    FOLDER/trial-17/validation/   so `val_loss` is drawn into the plot of `loss`

All of it is read from rows.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from db import reports, trials
from db.engine import Database
from db.tables import Attempt, Report, Trial
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting import tensorboard_events as events
from tuner.reporting.results import study_row, yet

MOST = 500  # trials that are written: every run costs TensorBoard time, and a trial is three of them
MARK = "ockham.txt"  # in each folder that may be replaced
_EVENTS, _TRIAL = r"events\.out\.tfevents\.\d+", r"trial-\d+(/(train|validation))?"
_OURS = re.compile(rf"{re.escape(MARK)}|{_TRIAL}|({_TRIAL}/)?{_EVENTS}")


@dataclass(frozen=True)
class Logs:
    """What was written."""

    folder: Path
    trials: int
    of: int  # trials that have begun


def write(database: Database, name: str, folder: str | Path | None = None) -> Logs:
    """Write the logs of a study as it stands. Of more than `MOST` trials half are the best, the others the newest.

    Args:
        folder: default: `NAME-tensorboard` in the current folder. What an earlier call wrote there is replaced; a
            TensorBoard that is open soon shows the new state.

    Raises:
        UnknownName: for the study.
        InvalidInput: where no trial has begun, and where the folder cannot be written or holds anything else.
    """
    row, folder = study_row(database, name), Path(folder or f"{name}-tensorboard")
    definition, created = StudyDefinition.from_json(row.definition), row.created_at.timestamp()
    with database.read() as s:
        begun = [trial for trial in trials.all(s, row.id) if trial.started_at is not None]
        best = {trial.number for trial in trials.best(s, row.id, definition.direction, MOST // 2)}
    if not begun:
        raise InvalidInput(
            f"No trial of study {name!r} has begun{yet(row.state)}, so there is nothing to show. "
            f"Look at it: tuner study show {name}"
        )
    others = [trial for trial in begun if trial.number not in best]
    chosen = [*(trial for trial in begun if trial.number in best), *others[len(best) - MOST :]]

    def fill(new: Path) -> None:
        (new / MARK).write_text(_mark(name), encoding="utf-8")
        events.save(new, created, [events.experiment(created, definition)])
        for trial in chosen:
            with database.read() as s:
                curve, attempts = reports.curve(s, trial.id), trials.attempts(s, trial.id)
            _save_trial(new / f"trial-{trial.number}", trial, _timed(curve, attempts), definition)

    try:
        _require_ours(folder, name)
        _replace(folder.resolve(), fill)  # where the folder is a link, that stays
    except OSError as error:
        raise InvalidInput(
            f"The logs cannot be written to {str(folder)!r}: {error.strerror}. Name another folder: "
            f"tuner study tensorboard {name} FOLDER"
        ) from error
    return Logs(folder, len(chosen), len(begun))


def _save_trial(folder: Path, trial: Trial, curve: Sequence[_Timed], definition: StudyDefinition) -> None:
    assert trial.started_at is not None
    began = trial.started_at.timestamp()
    group = f"configuration-{trial.number // definition.repeats}" if definition.repeats > 1 else ""
    ranked = trial.state not in ("failed", "cancelled")
    session = [
        events.session_start(began, definition, trial.params, group),
        *(_best_so_far(curve, definition) if ranked else ()),
        *([events.session_end(trial.finished_at.timestamp(), trial.state)] if trial.finished_at else ()),
    ]
    events.save(folder, began, session)
    for part, validation in (("train", False), ("validation", True)):
        scalars = [(item.at, item.report.epoch, _tagged(item.report.metrics, validation)) for item in curve]
        if any(values for _, _, values in scalars):
            events.save(folder / part, began, [events.scalars(*each) for each in scalars])


def _tagged(metrics: dict[str, float], validation: bool) -> dict[str, float]:
    """The metrics of one part, under the tags that Keras gives them."""
    mine = {name: value for name, value in metrics.items() if name.startswith("val_") == validation}
    return {f"epoch_{name.removeprefix('val_')}": value for name, value in mine.items()}


def _best_so_far(curve: Sequence[_Timed], definition: StudyDefinition) -> Iterator[Any]:
    """The HParams tab shows the last of these, which is the trial's value."""
    better, best = (max, -math.inf) if definition.direction == "maximize" else (min, math.inf)
    for item in curve:
        value = item.report.objective
        if value is not None and math.isfinite(value):
            best = better(best, value)
            yield events.scalars(item.at, item.report.epoch, {events.metric_tag(definition): best})


@dataclass(frozen=True)
class _Timed:
    """A report, and when its epoch was over, in seconds since 1970."""

    report: Report
    at: float


def _timed(curve: Sequence[Report], attempts: Sequence[Attempt]) -> list[_Timed]:
    """A row has no time of an epoch's end. Between an attempt's begin and its last word epochs lie as their seconds do,
    which in a cohort are shares.
    """
    spans = {item.token: (item.started_at, item.ended_at or item.heartbeat_at) for item in attempts}
    whole, passed, found = dict.fromkeys(spans, 0.0), dict.fromkeys(spans, 0.0), []
    for report in curve:
        whole[report.token] += report.seconds
    for report in curve:
        passed[report.token] += report.seconds
        share = passed[report.token] / whole[report.token] if whole[report.token] else 1.0
        began, heard = spans[report.token]
        found.append(_Timed(report, (began + share * (heard - began)).timestamp()))
    return found


def _replace(folder: Path, fill: Callable[[Path], None]) -> None:
    """Have a new folder filled, and put it in the place of the old one. On an OSError that is where it was."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as beside:
        new, old = Path(beside) / "new", Path(beside) / "old"
        new.mkdir()
        fill(new)
        if folder.exists():
            folder.rename(old)
        try:
            new.rename(folder)
        except OSError:
            with suppress(OSError):
                old.rename(folder)
            raise


def _require_ours(folder: Path, name: str) -> None:
    """Raises InvalidInput where there is anything but an empty folder or logs of this study."""
    if not folder.exists():
        return
    inside = folder.rglob("*") if folder.is_dir() else ()
    entries = sorted(path.relative_to(folder).as_posix() for path in inside)
    mark = folder / MARK
    marked = mark.is_file() and mark.read_bytes() == _mark(name).encode()
    foreign = [entry for entry in entries if not (marked and _OURS.fullmatch(entry))]
    if foreign or not folder.is_dir():
        what = f"holds {foreign[0]!r}, which is not of the logs of study {name!r}" if foreign else "is a file"
        raise InvalidInput(
            f"{str(folder)!r} {what}: nothing is replaced. Name another folder: tuner study tensorboard {name} FOLDER"
        )


def _mark(name: str) -> str:
    return f"TensorBoard logs of the Ockham study {name!r}. To write this folder anew: tuner study tensorboard {name}\n"
