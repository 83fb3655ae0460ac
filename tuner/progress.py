"""What a person sees while a study runs: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tuner.active_study import FINISHED, ActiveStudy
from tuner.definition import StudyDefinition

LINE_SECONDS = 10.0  # between two plain lines when nothing special happens

Watch = Callable[[ActiveStudy | None], None]


@dataclass(frozen=True)
class Snapshot:
    """The figures of one moment."""

    planned: int
    finished: int
    running: int
    pruned: int
    failed: int
    best: tuple[int, float] | None  # trial number, objective
    seconds_left: float | None  # at the rate of this run; None: no trial has finished in it yet

    def text(self, objective: str) -> str:
        """The figures as one line."""
        parts = [f"{self.finished} of {self.planned} trials done", f"{self.running} running", f"{self.pruned} pruned"]
        if self.failed:
            parts.append(f"{self.failed} failed")
        parts.append(f"best {objective} {self.best[1]:.5g} (trial {self.best[0]})" if self.best else "no result yet")
        if self.seconds_left is not None:
            parts.append(f"about {_words(self.seconds_left)} left")
        return ", ".join(parts)


class Pace:
    """Estimates the time left from the trials that finished since the display began."""

    def __init__(self) -> None:
        self._start: tuple[float, int] | None = None

    def snapshot(self, study: ActiveStudy) -> Snapshot:
        """The study's figures now."""
        counts, planned = study.counts, study.definition.trials
        finished = sum(counts.get(state, 0) for state in FINISHED)
        now = time.monotonic()
        if self._start is None:
            self._start = now, finished
        began, before = self._start
        rate = (finished - before) / (now - began) if finished > before and now > began else None
        left = max(0, planned - finished) / rate if rate else None
        running, pruned, failed = counts.get("running", 0), counts.get("pruned", 0), counts.get("failed", 0)
        return Snapshot(planned, finished, running, pruned, failed, study.best, left)


@contextmanager
def live(definition: StudyDefinition, *, enabled: bool = True) -> Iterator[Watch]:
    """A function that shows a study's progress on stderr each time it is called."""
    if not enabled:
        yield lambda study: None
    elif sys.stderr.isatty():
        with _bar(definition) as watch:
            yield watch
    else:
        yield _lines(definition)


@contextmanager
def _bar(definition: StudyDefinition) -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.fields[study]}"), BarColumn(24), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task(_STARTING, total=definition.trials, study=definition.name)
        pace = Pace()

        def watch(study: ActiveStudy | None) -> None:
            if study is not None:
                now = pace.snapshot(study)
                display.update(task, completed=now.finished, description=now.text(definition.objective))

        yield watch


def _lines(definition: StudyDefinition) -> Watch:
    pace = Pace()
    last: tuple[float, tuple[int, float] | None] = (float("-inf"), None)

    def watch(study: ActiveStudy | None) -> None:
        nonlocal last
        if study is None:
            print(f"{definition.name}: {_STARTING}", file=sys.stderr, flush=True)
            return
        now = pace.snapshot(study)
        if time.monotonic() - last[0] >= LINE_SECONDS or now.best != last[1]:
            last = time.monotonic(), now.best
            print(f"{definition.name}: {now.text(definition.objective)}", file=sys.stderr, flush=True)

    return watch


_STARTING = "starting workers, checking data, model and objective ..."


def _words(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
