"""A study as one page for a browser: what it found, how it got there, and what its parameters did.

The page holds all that it shows, so that it can be sent to somebody and opens without a network.
"""

from __future__ import annotations

import html
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from db import reports
from db.engine import Database
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting import plots
from tuner.reporting.explanations import trial_story
from tuner.reporting.importance import importance, too_narrow
from tuner.reporting.results import StudySummary, TrialResult, completed, study_row, summary, trial_results, yet

TOP = 10  # trials in the table
MOST = 3000  # trials that are plotted: with more the page takes a browser too long

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; vertical-align: top }
"""


def write(database: Database, name: str, path: str | Path | None = None) -> Path:
    """Write the page of a study as it stands, and return where it is.

    Args:
        path: the file; default: `NAME.html` in the current folder. What is there is replaced.

    Raises:
        UnknownName: for the study.
        InvalidInput: where it has no complete trial, and where the file cannot be written.
    """
    row = study_row(database, name)
    now, trials = summary(database, name), trial_results(database, name)
    if now.best is None:
        raise InvalidInput(
            f"Study {name!r} has no complete trial{yet(now.state)}, so there is nothing to plot. "
            f"Look at it: tuner study show {name}"
        )
    with database.read() as s:
        curves = reports.objectives(s, row.id)
    metrics = {report.epoch: report.metrics for report in trial_story(database, name, now.best.number).reports}
    space, best = StudyDefinition.from_json(row.definition).space, now.best.number
    assert space is not None  # what was not given, the dry run has read from the model
    shown, shares = _thinned(trials, now.direction), importance(space, trials, now.direction)
    figures = [
        plots.history(shown, now.objective, now.direction),
        plots.slices(space, shown, best, now.objective, now.direction),
        *([plots.bars(shares)] if shares else []),
        *([plots.sizes(shown, best, now.objective, now.direction)] if _sizes_differ(shown) else []),
        plots.learning_curves(curves, best, now.objective),
        *([plots.regularization(metrics, best)] if any("data_loss" in values for values in metrics.values()) else []),
    ]
    path = Path(path or f"{name}.html")
    _replace(path, _page(now, shown, too_narrow(space, trials, now.direction), figures))
    return path


def _sizes_differ(trials: Sequence[TrialResult]) -> bool:
    return len({trial.weights for trial in trials if trial.weights is not None}) > 1


def _thinned(trials: Sequence[TrialResult], direction: str) -> list[TrialResult]:
    """At most `MOST` trials by number: the best ones, and as many of the others, evenly chosen."""
    if len(trials) <= MOST:
        return list(trials)
    best = {trial.number for trial in completed(trials, direction)[: MOST // 2]}
    others = [trial for trial in trials if trial.number not in best]
    step = math.ceil(len(others) / (MOST // 2))
    return sorted([*(trial for trial in trials if trial.number in best), *others[::step]], key=lambda t: t.number)


def _page(now: StudySummary, trials: Sequence[TrialResult], advice: Sequence[str], figures: Sequence[Any]) -> str:
    drawn = [figure.to_html(full_html=False, include_plotlyjs=not place) for place, figure in enumerate(figures)]
    title, every = html.escape(f"Study {now.name}"), sum(now.counts.values())
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
            _table([], _facts(now)),
            *(f"<p>{html.escape(sentence)}</p>" for sentence in advice),
            *([f"<p>{len(trials)} of {every} trials are plotted.</p>"] if len(trials) < every else []),
            f"<h2>The best trials</h2>{_best_trials(now, trials)}",
            *drawn,
            "</body></html>",
        ]
    )


def _facts(now: StudySummary) -> Iterator[tuple[str, Any]]:
    yield "state", now.state + (f": {now.reason}" if now.reason else "")
    yield "trials", ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items()))
    yield "epochs", f"{now.epochs} of {now.epochs_without_stopping} without pruning and early stopping"
    if now.best is not None and now.best_configuration is not None:
        error = now.best_configuration.standard_error
        same = now.best_configuration.trials
        whose = f"trial {now.best.number}" if error is None else f"mean of trials {same[0]} to {same[-1]}"
        spread = "" if error is None else f" ± {error:.2g}"
        yield f"best {now.objective}", f"{plots.short(now.best_configuration.value)}{spread} ({whose})"
        unread = (
            f"none: {now.no_test_part}" if now.no_test_part else "the test part was not read yet for the best trial"
        )
        yield "unseen rows", now.final.sentence if now.final else unread


def _best_trials(now: StudySummary, trials: Sequence[TrialResult]) -> str:
    best = completed(trials, now.direction)[:TOP]
    names = list(dict.fromkeys(name for trial in best for name in trial.params))
    rows = [
        (
            trial.number,
            plots.short(trial.value),
            trial.best_epoch,
            *(plots.short(trial.params.get(name, "")) for name in names),
        )
        for trial in best
    ]
    return _table(["trial", now.objective, "epoch", *names], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[f"<th>{html.escape(item)}</th>" for item in head]] if head else []
    lines += [[f"<td>{html.escape(str(item))}</td>" for item in row] for row in rows]
    return "<table>" + "".join(f"<tr>{''.join(line)}</tr>" for line in lines) + "</table>"


def _replace(path: Path, text: str) -> None:
    """Write the file as a whole or not at all."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidInput(
            f"The report cannot be written to {str(path)!r}: {error.strerror}. Name another file: --file PATH"
        ) from error
