"""What a coordinator costs as a study and a service grow: simulated workers, everything else real.

    .venv/bin/python benchmarks/scale.py [--trials N] [--studies N] [--workers N] [--postgresql URL] [--json]

One study grows to 100,000 trials of three epochs with `random` and `asha`; after 1,000, 10,000 and 100,000 of them the
milliseconds per trial of the last tenth, of `tuner study show` and of reading the study again after a restart are
measured. Then 100 studies run at once. The workers answer at once: what is left is the coordinator and the database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections import deque
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from db import studies
from db.engine import Database
from tuner.configuration import Settings
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.coordinator import Coordinator
from tuner.databases import open_database
from tuner.definitions.definition import parse
from tuner.reporting.results import study_row, summary
from tuner.submission import submit
from workers.contract import Assignment, CheckReport, Ended, Lost, Report, Resources, SliceResult, Training

EPOCHS = 3
SPACE = {"x": {"type": "float", "low": 0.0, "high": 1.0}, "l2": {"type": "lambda", "low": 1e-6, "high": 0.1}}


class Simulated:
    """A launcher of any number of workers that train nothing and answer at once."""

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._held: dict[str, tuple[Assignment, int]] = {}  # and the epochs that were reported
        self._answers: deque[SliceResult | Lost] = deque()

    def fits(self, resources: Resources) -> str | None:  # noqa: ARG002 - the contract's signature
        return None

    def nodes(self) -> dict[str, dict[str, float]]:
        return {}

    def room(self, resources: Resources, beside: Sequence[Resources] = ()) -> int:  # noqa: ARG002
        return self._workers - len(self._held) - len(beside)

    def start(self, assignment: Assignment) -> str:
        self._held[assignment.id] = assignment, 0
        return "simulated"

    def advance(
        self,
        assignment: str,
        until: int,
        seconds: float,  # noqa: ARG002
        drop: Collection[int] = (),
        save: bool = False,  # noqa: ARG002
        acknowledged: int = 0,  # noqa: ARG002
    ) -> None:
        held, done = self._held[assignment]
        reports, ended = [], []
        until = min(until, held.training.epochs)
        for member in held.members:
            if member.trial in drop:
                continue
            loss = abs(member.params["x"] - 0.3)
            epochs = range(done + 1, until + 1)
            reports += [
                Report(member.trial, member.token, epoch, {"loss": loss + 1 / epoch}, 0.001) for epoch in epochs
            ]
            if until == held.training.epochs:
                ended.append(Ended(member.trial, member.token, best_epoch=until))
        self._held[assignment] = held, until
        if ended:
            del self._held[assignment]
        self._answers.append(SliceResult(assignment, "simulated", tuple(reports), (), tuple(ended)))

    def stop(self, assignment: str) -> None:
        self._held.pop(assignment, None)
        self._answers = deque(answer for answer in self._answers if answer.assignment != assignment)

    def poll(self, seconds: float) -> list[SliceResult | Lost]:  # noqa: ARG002
        answers, self._answers = list(self._answers), deque()
        return answers

    def held(self) -> list[Assignment]:
        return []

    def adopt(self, assignment: Assignment) -> None:
        raise NotImplementedError(f"Nobody else had {assignment.label}.")

    def check(self, training: Training, resources: Resources | None = None) -> CheckReport:  # noqa: ARG002
        return CheckReport()

    def describe(self) -> list[dict[str, Any]]:
        return []

    def close(self) -> None:
        self._held.clear()


def add_study(settings: Settings, name: str, trials: int) -> None:
    """Submit a study whose trials are simulated."""
    form = {"name": name, "loop": "benchmarks.empty_trial:train", "space": SPACE, "objective": "loss"}
    limits = {"trials": trials, "epochs": EPOCHS, "sampler": "random", "patience": None, "grace": 1}
    submit(parse({**form, **limits}), lambda _: CheckReport(), settings)


def grow(database: Database, settings: Settings, workers: int, sizes: list[int]) -> list[dict[str, float]]:
    """One study, measured whenever it has one of the `sizes` of finished trials."""
    add_study(settings, "large", sizes[-1])
    coordinator, rows = Coordinator(database, Simulated(workers), settings), []
    for size in sizes:
        _until(coordinator, size * 9 // 10)
        began = time.perf_counter()
        steps = _until(coordinator, size)
        spent = time.perf_counter() - began
        row = {"trials": size, "ms_per_trial": 1e3 * spent / (size / 10), "longest_step_ms": 1e3 * max(steps)}
        row["show_ms"] = 1e3 * _median(lambda: summary(database, "large"))
        row["restart_s"] = _median(lambda: _read_again(database), 1)
        rows.append(row)
    coordinator.close()
    return rows


def crowd(database: Database, settings: Settings, workers: int, count: int, trials: int) -> dict[str, float]:
    """Many studies at once, each with so many trials."""
    for number in range(count):
        add_study(settings, f"small-{number}", trials)
    coordinator = Coordinator(database, Simulated(workers), settings)
    began = time.perf_counter()
    coordinator.step()
    steps = []
    while coordinator.studies:
        start = time.perf_counter()
        coordinator.step()
        steps.append(time.perf_counter() - start)
    seconds = time.perf_counter() - began
    with database.read() as s:
        done = sum(entry.counts.get("complete", 0) + entry.counts.get("pruned", 0) for entry in studies.listing(s))
    return {
        "studies": count,
        "trials_per_second": count * trials / seconds,
        "longest_step_ms": 1e3 * max(steps),
        "done": done,
    }


def _until(coordinator: Coordinator, finished: int) -> list[float]:
    """Step until so many trials of the only study are finished; the seconds of each step."""
    steps = []
    while True:
        start = time.perf_counter()
        coordinator.step()
        steps.append(time.perf_counter() - start)
        study = next(iter(coordinator.studies.values()), None)
        if study is None or study.progress().finished >= finished:
            return steps


def _read_again(database: Database) -> None:
    row = study_row(database, "large")
    with database.read() as s:
        ActiveStudy.load(s, row, row.term)


def _median(call: Any, times: int = 3) -> float:
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--trials", type=int, default=100_000, help="of the large study")
    arguments.add_argument("--studies", type=int, default=100, help="that run at once, 100 trials each")
    arguments.add_argument("--workers", type=int, default=1000)
    arguments.add_argument("--postgresql", metavar="URL", help="an empty database; default: SQLite")
    arguments.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    given = arguments.parse_args()
    sizes = [size for size in (1_000, 10_000, 100_000) if size < given.trials] + [given.trials]
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings.load({}, home=home, database=given.postgresql, import_paths=str(Path.cwd()))
        database = stack.enter_context(open_database(settings))
        rows = grow(database, settings, given.workers, sizes)
        print(f"{'trials':>8} {'ms/trial':>9} {'longest step ms':>16} {'show ms':>8} {'restart s':>10}")
        for row in rows:
            print(
                f"{row['trials']:8.0f} {row['ms_per_trial']:9.2f} {row['longest_step_ms']:16.0f} "
                f"{row['show_ms']:8.0f} {row['restart_s']:10.2f}"
            )
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        settings = Settings.load({}, home=home, import_paths=str(Path.cwd()))
        database = stack.enter_context(open_database(settings))
        many = crowd(database, settings, given.workers, given.studies, 100)
        rate, longest = many["trials_per_second"], many["longest_step_ms"]
        print(f"{given.studies} studies at once: {rate:.0f} trials/s, longest step {longest:.0f} ms")
    if given.json:
        print(json.dumps({"growing": rows, "at_once": many, "workers": given.workers}))


if __name__ == "__main__":
    main()
