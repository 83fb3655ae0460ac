"""What a person sees while a study runs: one live line on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.repeats import OVER, numbers_of
from tuner.definitions.definition import StudyDefinition

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

LINE_SECONDS = 10.0  # between two plain lines when nothing special happens
NEWS_SECONDS = 1.0  # between two plain lines when there is a better trial
FRAMES_PER_SECOND = 5
LONGEST_NAME = 24  # characters of the study's name in the live line

Watch = Callable[[ActiveStudy | None], None]

_STARTING = "starting workers, checking data, model and objective ..."


@dataclass(frozen=True)
class Snapshot:
    """The figures of one moment."""

    planned: int
    finished: int
    running: int
    pruned: int
    failed: int
    best: tuple[int, float] | None  # trial number, objective (a mean with repeats)
    seconds_left: float | None  # at the rate of this run; None: too few trials have finished in it
    paused: bool = False
    repeats: int = 1

    def text(self, objective: str, width: int | None = None) -> str:
        """The figures as one line. Where that has more than `width` characters, it is said shorter, then left out."""
        full, brief = self._parts(objective)
        line = ", ".join(text for _, text in full)
        if width is None or len(line) <= width:
            return line
        while len(line := ", ".join(text for _, text in brief)) > width and len(brief) > 1:
            brief.remove(max(brief, key=lambda part: part[0]))
        return line

    def _parts(self, objective: str) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Rank and text of every part, in full and in brief. The one of the highest rank is left out first."""
        value, trial = (f"{self.best[1]:.5g}", f" ({self._whose(self.best[0])})") if self.best else ("", "")
        best = f"best {objective} {value}" if self.best else "no result yet"
        left = "" if self.seconds_left is None or self.paused else f"{_words(self.seconds_left)} left"
        others = [(3, f"{self.running} running"), (4, f"{self.pruned} pruned")]
        others += [(2, f"{self.failed} failed")] if self.failed else []
        full = [(0, f"{self.finished} of {self.planned} trials done"), *others, (1, best + trial)]
        brief = [(0, f"{self.finished}/{self.planned} done"), *others, (1, best)]
        if self.paused:
            full.append((0, "paused"))
            brief.append((0, "paused"))
        if left:
            full.append((2, f"about {left}"))
            brief.append((2, left))
        return full, brief

    def _whose(self, trial: int) -> str:
        if self.repeats == 1:
            return f"trial {trial}"
        same = numbers_of(trial // self.repeats, self.repeats)
        return f"mean of trials {same[0]} to {same[-1]}"


class Pace:
    """Estimates the time left from how fast trials finish.

    The first ones of a run take longer, because workers trace and compile. So the clock starts when one has finished,
    and says nothing before as many have finished after it as train at once: those began together with the first.
    """

    def __init__(self) -> None:
        self._known: int | None = None  # finished before this run, or before it was paused
        self._start: tuple[float, int] | None = None  # when the first one finished, and how many had then
        self._at_once = 1

    def snapshot(self, study: ActiveStudy) -> Snapshot:
        """The study's figures now."""
        counts, planned = study.counts, study.definition.trials
        finished, paused = sum(counts.get(state, 0) for state in OVER), study.state == "paused"
        running, pruned, failed = counts.get("running", 0), counts.get("pruned", 0), counts.get("failed", 0)
        left = self._seconds_left(finished, running, max(0, planned - finished), paused)
        repeats = study.definition.repeats
        return Snapshot(planned, finished, running, pruned, failed, study.best, left, paused, repeats)

    def _seconds_left(self, finished: int, running: int, to_come: int, paused: bool) -> float | None:
        now = time.monotonic()
        self._at_once = max(self._at_once, running)
        if self._known is None or paused:
            self._known, self._start = finished, None
        elif self._start is None and finished > self._known:
            self._start = now, finished
        if self._start is None or to_come <= running:  # the last ones have begun: how fast others began says nothing
            return None
        began, before = self._start
        return to_come * (now - began) / (finished - before) if finished - before >= self._at_once else None


@contextmanager
def live(definition: StudyDefinition, *, enabled: bool = True) -> Iterator[Watch]:
    """A function that shows a study's progress on stderr each time it is called."""
    if not enabled:
        yield lambda _: None
    elif sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        with _on_terminal(definition) as watch:
            yield watch
    else:
        yield _lines(definition)


class LiveLine:
    """The line on a terminal: spinner, name, bar, time, figures; as much of it as the terminal is wide."""

    def __init__(self, definition: StudyDefinition) -> None:
        self._name, self._objective = definition.name, definition.objective
        self._began = time.monotonic()
        self.snapshot: Snapshot | None = None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        ascii_only, width = options.ascii_only, options.max_width - 1  # a full line would wrap on some terminals
        seconds = time.monotonic() - self._began
        spinner = ("|/-\\" if ascii_only else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏")[
            int(seconds * FRAMES_PER_SECOND) % (4 if ascii_only else 10)
        ]
        longest = max(6, min(LONGEST_NAME, width // 4))
        name = self._name if len(self._name) <= longest else self._name[: longest - 3] + "..."
        overflow: Literal["crop", "ellipsis"] = "crop" if ascii_only else "ellipsis"
        line = Text(no_wrap=True, overflow=overflow, end="")
        line.append(f"{spinner} ", "cyan").append(f"{name} ", "bold")
        clock = f"{int(seconds) // 60}:{int(seconds) % 60:02}"
        if self.snapshot is None:
            line.append(f"{clock} {_STARTING}")
        else:
            bar = 24 if width >= 120 else 12 if width >= 90 else 0
            done = int(bar * min(1.0, self.snapshot.finished / max(1, self.snapshot.planned)))
            stroke = "#" if ascii_only else "━"
            line.append(stroke * done, "green").append(("-" if ascii_only else stroke) * (bar - done), "bright_black")
            line.append(" " if bar else "")
            line.append(f"{clock} ", "dim")
            line.append(self.snapshot.text(self._objective, width - line.cell_len))
        line.truncate(width, overflow=overflow)
        yield line


@contextmanager
def _on_terminal(definition: StudyDefinition) -> Iterator[Watch]:
    from rich.console import Console
    from rich.live import Live

    line, pace = LiveLine(definition), Pace()

    def watch(study: ActiveStudy | None) -> None:
        if study is not None:
            line.snapshot = pace.snapshot(study)

    # What anybody prints meanwhile appears above the line.
    with Live(line, console=Console(stderr=True), refresh_per_second=FRAMES_PER_SECOND, transient=True):
        yield watch


def _lines(definition: StudyDefinition) -> Watch:
    pace = Pace()
    printed, best = float("-inf"), None

    def watch(study: ActiveStudy | None) -> None:
        nonlocal printed, best
        if study is None:
            _print(f"{definition.name}: {_STARTING}")
            return
        now = pace.snapshot(study)
        silent = time.monotonic() - printed
        if silent >= LINE_SECONDS or (now.best != best and silent >= NEWS_SECONDS):
            printed, best = time.monotonic(), now.best
            _print(f"{definition.name}: {now.text(definition.objective)}")

    return watch


def _print(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


def _words(seconds: float) -> str:
    if seconds < 60:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
