"""`tuner top`: what the service does now, as one page that renews itself."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

import click

from tuner.cli.opened import opened
from tuner.cli.output import duration, emit_json, emit_table, output_option, short
from tuner.cli.summaries import counted

if TYPE_CHECKING:
    from rich.console import RenderableType

    from db.engine import Database
    from db.overview import FailedTrial, LiveStudy, RunningTrial

REFRESH_SECONDS = 2.0
FAILURES = 5  # the latest ones
LEFT_FOR_TRIALS = 14  # lines of a screen that hold something else
LONGEST_NAME, LEAST_OF_A_TEXT = 24, 12  # columns of a screen; with less of a text nothing is said
FINISHED = ("complete", "pruned", "failed", "cancelled")
HEADINGS = (
    "study",
    "state",
    "done",
    "of",
    "running",
    "queued",
    "pruned",
    "failed",
    "per min",
    "best",
    "waits",
    "coordinator",
)


@click.command()
@click.option("--once", is_flag=True, help="Print the page once, as everywhere but on a terminal.")
@output_option
def top(once: bool, output: str) -> None:
    """Watch every study that has not ended, what is being trained, and what failed last.

    Ctrl-C leaves; nothing but the page ends.
    """
    database = opened()
    pages = Pages(database)
    if output == "json":
        pages.look()
        emit_json({"studies": pages.studies, "running": pages.running, "failures": pages.failures})
    elif once or not sys.stdout.isatty():
        pages.look()
        _print(pages)
    else:
        _watch(pages)


class Pages:
    """Looks at the rows now and then; trials per minute are those since the first look."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._first: dict[str, tuple[float, int]] = {}
        self.studies: list[LiveStudy] = []
        self.running: list[RunningTrial] = []
        self.failures: list[FailedTrial] = []

    def look(self) -> None:
        """Read the rows again."""
        from db import overview

        with self._database.read() as s:
            self.studies = overview.live_studies(s)
            self.running = overview.running_trials(s)
            self.failures = overview.latest_failures(s, FAILURES)
        now = time.monotonic()
        for study in self.studies:
            self._first.setdefault(study.name, (now, _finished(study)))

    def rows(self) -> Iterator[tuple[object, ...]]:
        """A study in each row, under HEADINGS."""
        from tuner.reporting.results import process_words

        for study in self.studies:
            counts = [study.counts.get(state, 0) for state in ("running", "queued", "pruned", "failed")]
            best = f"{short(study.best[1])} (trial {study.best[0]})" if study.best else ""
            who = process_words(study.coordinator) if study.coordinator else "nobody"
            yield (
                study.name,
                study.state,
                _finished(study),
                study.planned,
                *counts,
                self._pace(study),
                best,
                study.waits,
                who,
            )

    def _pace(self, study: LiveStudy) -> float | None:
        began, before = self._first[study.name]
        minutes = (time.monotonic() - began) / 60
        return round((_finished(study) - before) / minutes, 1) if _finished(study) > before else None


def _finished(study: LiveStudy) -> int:
    return sum(study.counts.get(state, 0) for state in FINISHED)


_NOTHING = "No study is waiting or running. Start one: tuner run STUDY.yaml"
_TRAINING = ("training", "trial", "attempt", "epoch", "for", "last sign")
_FAILED = ("failed", "trial", "cause", "why")


def _training(running: RunningTrial) -> tuple[object, ...]:
    since, silent = duration(running.seconds), duration(running.silent)
    return running.study, running.number, running.attempt, running.epoch, since, f"{silent} ago"


def _failed(failure: FailedTrial) -> tuple[object, ...]:
    return failure.study, failure.number, failure.cause, failure.message


def _print(pages: Pages) -> None:
    emit_table(HEADINGS, list(pages.rows()), _NOTHING)
    for headings, rows in (
        (_TRAINING, [_training(running) for running in pages.running]),
        (_FAILED, [_failed(failure) for failure in pages.failures]),
    ):
        if rows:
            click.echo()
            emit_table(headings, rows, "")


def _watch(pages: Pages) -> None:
    from rich.console import Console
    from rich.live import Live

    from db.errors import DatabaseUnavailable

    console, trouble = Console(), ""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                try:
                    pages.look()
                    trouble = ""
                except DatabaseUnavailable as error:
                    trouble = f"{error} Trying again; what follows is older."
                live.update(_page(pages, trouble, console.width, console.height), refresh=True)
                time.sleep(REFRESH_SECONDS)
        except KeyboardInterrupt:
            return


def _page(pages: Pages, trouble: str, width: int, height: int) -> RenderableType:
    """As much of everything as a screen of `height` lines holds."""
    from rich.console import Group
    from rich.text import Text

    studies = list(pages.rows())
    room = max(1, height - LEFT_FOR_TRIALS - len(studies))
    running = [_training(running) for running in pages.running[:room]]
    more = len(pages.running) - len(running)
    blocks: list[RenderableType] = [
        Text(f"Ockham  {time.strftime('%H:%M:%S')}  {_training_now(pages)}"),
        Text(trouble, style="bold red"),
        _table(HEADINGS, studies, width) if studies else Text(_NOTHING),
        Text(),
    ]
    if running:
        blocks += [_table(_TRAINING, running, width), Text(f"and {more} more" if more else "", style="dim")]
    if pages.failures:
        blocks.append(_table(_FAILED, [_failed(failure) for failure in pages.failures], width))
    return Group(*blocks)


def _training_now(pages: Pages) -> str:
    return f"{counted(len(pages.running), 'trial')} training in {counted(len(pages.studies), 'study')}"


def _table(headings: tuple[str, ...], rows: list[tuple[object, ...]], room: int) -> RenderableType:
    """As many of the columns as there is room for, from the left. Of a text that is too long the beginning is shown."""
    from rich.table import Table
    from rich.text import Text

    cells, left = [[short(cell) for cell in row] for row in rows], room
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        numeric = all(isinstance(row[index], (int, float, type(None))) for row in rows)
        needed = max(len(heading), *(len(line[index]) for line in cells))
        width = needed if numeric else min(needed, LONGEST_NAME if index == 0 else left)
        if width > left or width < min(needed, LEAST_OF_A_TEXT):
            break
        justify: Literal["left", "right"] = "right" if numeric else "left"
        table.add_column(heading, justify=justify, no_wrap=True, overflow="ellipsis", width=width)
        left -= width + 2
    for line in cells:
        table.add_row(*map(Text, line[: len(table.columns)]))
    return table
