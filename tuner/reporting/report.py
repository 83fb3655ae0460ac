"""A study as one page for a browser: what it found, how it got there, and what its parameters did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from db import attempts, reports
from db.engine import Database
from search_spaces import Space
from tuner.coordination.repeats import numbers_of
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting import page
from tuner.reporting.explanations import trial_story
from tuner.reporting.importance import importance, too_narrow
from tuner.reporting.plots import outcomes, parameters
from tuner.reporting.plots.drawing import short, with_error
from tuner.reporting.plots.timeline import timeline
from tuner.reporting.ranking import Ranked, completed, curves_of, ranked_of
from tuner.reporting.results import StudySummary, study_row, summary, trial_results, yet

TOP = 10  # trials or configurations in the table
MOST = 3000  # of them that are plotted: with more the page takes a browser too long


def write(database: Database, name: str, path: str | Path | None = None) -> Path:
    """Write the page of a study as it stands, and return where it is.

    Args:
        path: the file; default: `NAME.html` in the current folder. What is there is replaced.

    Raises:
        UnknownName: for the study.
        InvalidInput: where no trial (with repeats, configuration) is complete, and where the file cannot be written.
    """
    row = study_row(database, name)
    definition, now = StudyDefinition.from_json(row.definition), summary(database, name)
    word = "trial" if definition.repeats == 1 else "configuration"
    if now.best is None:
        raise InvalidInput(
            f"Study {name!r} has no complete {word}{yet(now.state)}, so there is nothing to plot. "
            f"Look at it: tuner study show {name}"
        )
    assert definition.space is not None  # what was not given, the dry run has read from the model
    ranked = ranked_of(trial_results(database, name), definition.repeats, definition.folds)
    shown = _thinned(ranked, now.direction)
    sentences = too_narrow(definition.space, ranked, now.direction)
    if len(shown) < len(ranked):
        sentences.append(f"{len(shown)} of {len(ranked)} {word}s are plotted.")
    parts = [
        page.table([], _facts(now)),
        *map(page.paragraph, sentences),
        f"<h2>The best {word}s</h2>{_best(shown, now)}",
    ]
    shares = importance(definition.space, ranked, now.direction)
    best = ranked[now.best.number // definition.repeats]
    figures = [
        outcomes.history(shown, now.objective, now.direction, word),
        *_of_parameters(definition.space, shown, best, shares, now),
        *_of_models(database, definition, shown, best, now),
    ]
    return page.save(Path(path or f"{name}.html"), page.page(f"Study {name}", parts, figures))


def _of_parameters(
    space: Space, shown: Sequence[Ranked], best: Ranked, shares: dict[str, float], now: StudySummary
) -> Iterator[Any]:
    yield parameters.slices(space, shown, best.number, now.objective, now.direction)
    if shares:
        yield parameters.bars(shares)
    if len(shares) > 1:
        first, second, *_ = shares
        yield parameters.pair(space, shown, (first, second), now.objective, now.direction)
    if len(space.free) > 1 and len(completed(shown, now.direction)) > 1:
        yield parameters.parallel(space, shown, now.objective, now.direction)


def _of_models(
    database: Database, definition: StudyDefinition, shown: Sequence[Ranked], best: Ranked, now: StudySummary
) -> Iterator[Any]:
    if len({item.weights for item in shown if item.weights is not None}) > 1:
        yield outcomes.sizes(shown, best.number, now.objective, now.direction)
    with database.read() as s:
        study = study_row(database, now.name).id
        curves, spans = reports.objectives(s, study), attempts.spans(s, study)
    means, repeats = curves_of(curves, definition.repeats), numbers_of(best.number, definition.repeats)
    own = [curves[number] for number in repeats if number in curves] if definition.repeats > 1 else []
    yield outcomes.learning_curves(means, best, now.objective, own)
    assert now.best is not None
    metrics = {report.epoch: report.metrics for report in trial_story(database, now.name, now.best.number).reports}
    if any("data_loss" in values for values in metrics.values()):
        yield outcomes.regularization(metrics, now.best.number)
    yield timeline(spans, MOST)


def _thinned(ranked: Sequence[Ranked], direction: str) -> list[Ranked]:
    """At most `MOST` by number: the best ones, and as many of the others, evenly chosen."""
    if len(ranked) <= MOST:
        return list(ranked)
    best = {item.number for item in completed(ranked, direction)[: MOST // 2]}
    others = [item for item in ranked if item.number not in best]
    step = math.ceil(len(others) / (MOST // 2))
    return sorted([*(item for item in ranked if item.number in best), *others[::step]], key=lambda item: item.number)


def _facts(now: StudySummary) -> Iterator[tuple[str, Any]]:
    yield "state", now.state + (f": {now.reason}" if now.reason else "")
    yield "trials", ", ".join(f"{count} {state}" for state, count in sorted(now.counts.items()))
    yield "epochs", f"{now.epochs} of {now.epochs_without_stopping} without pruning and early stopping"
    if now.audit is not None:
        yield "pruning", now.audit.sentence
    if now.best is not None and now.best_configuration is not None:
        error = now.best_configuration.standard_error
        same = now.best_configuration.trials
        whose = f"trial {now.best.number}" if error is None else f"mean of trials {same[0]} to {same[-1]}"
        yield f"best {now.objective}", f"{with_error(now.best_configuration.value, error)} ({whose})"
        unread = (
            f"none: {now.no_test_part}" if now.no_test_part else "the test part was not read yet for the best trial"
        )
        yield "unseen rows", now.final.sentence if now.final else unread


def _best(ranked: Sequence[Ranked], now: StudySummary) -> str:
    best = completed(ranked, now.direction)[:TOP]
    names = list(dict.fromkeys(name for item in best for name in item.params))
    head = ["trial", now.objective, "epoch"] if len(best[0].trials) == 1 else ["trials", now.objective, "epochs"]
    rows = [
        (
            _span(item.trials),
            with_error(item.value, item.standard_error),
            _span(sorted(set(item.best_epochs))),
            *(short(item.params.get(name, "")) for name in names),
        )
        for item in best
    ]
    return page.table([*head, *names], rows)


def _span(numbers: Sequence[int]) -> str:
    return " to ".join(str(number) for number in dict.fromkeys((*numbers[:1], *numbers[-1:])))
