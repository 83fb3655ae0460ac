"""Several studies on one page: how fast each found what it found, and what that is."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from db import attempts
from db.attempts import Span
from db.engine import Database
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput
from tuner.reporting import page
from tuner.reporting.plots.bests import Progress, bests
from tuner.reporting.plots.drawing import short, with_error
from tuner.reporting.ranking import Ranked, completed, ranked_of
from tuner.reporting.results import StudySummary, study_row, summary, trial_results


@dataclass(frozen=True)
class _Compared:
    definition: StudyDefinition
    now: StudySummary
    ranked: Sequence[Ranked]
    spans: Sequence[Span]


def write(database: Database, names: Sequence[str], path: str | Path | None = None) -> Path:
    """Write the page that compares these studies as they stand, and return where it is.

    Args:
        names: at least two studies of the database, in the order in which they are shown.
        path: the file; default: `FIRST-and-SECOND.html`, or `FIRST-and-N-others.html`. What is there is replaced.

    Raises:
        UnknownName: for a study.
        InvalidInput: where one is named twice, where their objectives or directions differ, where none has a complete
            trial (with repeats, configuration), and where the file cannot be written.
    """
    for place, name in enumerate(names):
        if name in names[:place]:
            raise InvalidInput(f"Study {name!r} is named twice. Name each study once: tuner study report A B")
    compared = [_read(database, name) for name in names]
    _require_comparable(compared)
    first = compared[0].now
    if all(item.now.best is None for item in compared):
        raise InvalidInput(
            f"None of the studies {', '.join(map(repr, names))} has found anything to compare: none has a complete "
            "trial, or configuration. Look at one: tuner study show NAME"
        )
    head = ["", *names]
    parts = [page.table(head, _facts(compared))]
    if any(item.definition.data != compared[0].definition.data for item in compared):
        parts.append(
            page.paragraph("Their data differ: a better value may be one on easier rows, or a mean over folds.")
        )
    parts.append(f"<h2>The best parameters</h2>{page.table(head, _params(compared))}")
    if differing := list(_differing(compared)):
        parts.append(f"<h2>How the studies differ</h2>{page.table(head, differing)}")
    progress = [_progress(item) for item in compared if item.now.best is not None]
    figures = [
        bests(progress, first.objective, "trials"),
        bests(progress, first.objective, "seconds in which a trial ran"),
    ]
    others = f"{names[1]}" if len(names) == 2 else f"{len(names) - 1}-others"
    title = f"Studies {', '.join(names[:-1])} and {names[-1]}"
    return page.save(Path(path or f"{names[0]}-and-{others}.html"), page.page(title, parts, figures))


def _read(database: Database, name: str) -> _Compared:
    row = study_row(database, name)
    definition = StudyDefinition.from_json(row.definition)
    with database.read() as s:
        spans = attempts.spans(s, row.id)
    ranked = ranked_of(trial_results(database, name), definition.repeats, definition.folds)
    return _Compared(definition, summary(database, name), ranked, spans)


def _require_comparable(compared: Sequence[_Compared]) -> None:
    first = compared[0].now
    for other in (item.now for item in compared[1:]):
        for what in ("objective", "direction"):
            one, another = getattr(first, what), getattr(other, what)
            if one != another:
                raise InvalidInput(
                    f"Studies {first.name!r} and {other.name!r} cannot be compared: the {what} of the one is {one}, of "
                    f"the other {another}. Write a page for each: tuner study report {first.name}"
                )


def _facts(compared: Sequence[_Compared]) -> Iterator[list[Any]]:
    studies = [item.now for item in compared]
    yield [f"best {studies[0].objective}", *map(_best, studies)]
    yield ["unseen rows", *map(_unseen, studies)]
    yield ["trials", *(sum(now.counts.values()) for now in studies)]
    yield ["complete", *(now.counts.get("complete", 0) for now in studies)]
    yield ["epochs", *(now.epochs for now in studies)]
    yield ["state", *(now.state for now in studies)]


def _best(now: StudySummary) -> str:
    if now.best_configuration is None:
        return "nothing yet"
    return with_error(now.best_configuration.value, now.best_configuration.standard_error)


def _unseen(now: StudySummary) -> str:
    if now.final is None:
        return "not read" if now.no_test_part is None else "none"
    return with_error(now.final.value, now.final.standard_error)


def _params(compared: Sequence[_Compared]) -> Iterator[list[str]]:
    best = [item.now.best.params if item.now.best is not None else {} for item in compared]
    for name in dict.fromkeys(name for params in best for name in params):
        yield [name, *(short(params.get(name, "")) for params in best)]


def _differing(compared: Sequence[_Compared]) -> Iterator[list[str]]:
    """The settings that are one value each, and not the same in all studies."""
    forms = [item.definition.to_json() for item in compared]
    for name in forms[0]:
        values = [form[name] for form in forms]
        if name != "name" and not any(isinstance(value, (dict, list)) for value in values) and len(set(values)) > 1:
            yield [name, *("none" if value is None else str(value) for value in values)]


def _progress(item: _Compared) -> Progress:
    ended = {span.number: span.ended for span in item.spans}  # of each trial's latest attempt
    active, minimize = _active(item.spans), item.now.direction == "minimize"
    complete = completed(item.ranked, item.now.direction)
    by_trial = [(float(len(one.trials) * (one.number + 1)), float(one.value or 0.0)) for one in complete]
    moments = [max(ended[number] for number in one.trials) for one in complete]
    by_time = [(active(moment), float(one.value or 0.0)) for moment, one in zip(moments, complete, strict=True)]
    whole = active(max(span.ended for span in item.spans))
    begun = float(sum(len(one.trials) for one in item.ranked))
    return Progress(item.now.name, _improved(by_trial, begun, minimize), _improved(by_time, whole, minimize))


def _improved(values: Sequence[tuple[float, float]], end: float, minimize: bool) -> list[tuple[float, float]]:
    """Where the best so far becomes better, as (place, value), and once more where the study ends or stands."""
    found: list[tuple[float, float]] = []
    for place, value in sorted(values):
        if not found or (value < found[-1][1] if minimize else value > found[-1][1]):
            found.append((place, value))
    return [*found, (max(end, found[-1][0]), found[-1][1])]


def _active(spans: Sequence[Span]) -> Callable[[datetime], float]:
    """Seconds until a moment in which at least one of these attempts ran: pauses are not counted."""
    begins: list[datetime] = []
    ends: list[datetime] = []
    for span in spans:  # by their start
        if ends and span.started <= ends[-1]:
            ends[-1] = max(ends[-1], span.ended)
        else:
            begins.append(span.started)
            ends.append(span.ended)
    before = [0.0]
    for begin, end in zip(begins, ends, strict=True):
        before.append(before[-1] + (end - begin).total_seconds())

    def until(moment: datetime) -> float:
        place = bisect_right(begins, moment) - 1
        return before[place] + (min(moment, ends[place]) - begins[place]).total_seconds()

    return until
