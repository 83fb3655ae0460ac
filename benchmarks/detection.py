"""How soon a fault is seen: a killed and a frozen worker, a coordinator that was killed and one that comes after it.

    .venv/bin/python benchmarks/detection.py [--rounds N] [--hang] [--json]

Real processes on SQLite, with the launcher `processes` and a loop without TensorFlow. Seconds from the signal until the
attempt's end is a row, and from the start of the next `tuner run` until it holds the study. `--hang` freezes a worker
as well, which takes a minute.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from db import studies, trials
from db.engine import Database
from tuner.configuration import Settings
from tuner.databases import open_database

ROOT = Path(__file__).resolve().parent.parent

STUDY = {
    "name": "detection",
    "loop": "benchmarks.detection:train",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "loss",
    "trials": 100,
    "epochs": 1000,
    "workers": 1,
    "sampler": "random",
    "pruner": "none",
    "patience": None,
}
PATIENCE_SECONDS = 300.0


def train(run: Any) -> None:
    """A trial that takes a minute and a half."""
    for epoch in range(run.epoch, run.epochs):
        time.sleep(0.1)
        run.report({"loss": run.params["x"] / (epoch + 1)}, state={"epoch": epoch})


class Bench:
    """One study, and the coordinator that runs it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.settings = Settings.load({}, home=home)
        self.database: Database = open_database(self.settings)
        (home / "study.json").write_text(json.dumps(STUDY))

    def start(self) -> subprocess.Popen[bytes]:
        """`tuner run` as a process of its own."""
        own = {"TUNER_HOME": str(self.home), "TUNER_LAUNCHER": "processes", "TUNER_WORKERS": "1"}
        command = [sys.executable, "-m", "tuner", "run", str(self.home / "study.json")]
        quiet = subprocess.DEVNULL
        return subprocess.Popen(command, cwd=ROOT, env={**os.environ, **own}, stdout=quiet, stderr=quiet)

    def term(self) -> int:
        """How often the study was claimed."""
        with self.database.read() as s:
            study = studies.find(s, "detection")
            return study.term if study is not None else 0

    def training(self, token: int) -> bool:
        """Whether attempt `token` at the first trial has reported."""
        with self.database.read() as s:
            study = studies.find(s, "detection")
            trial = trials.get(s, study.id, 0) if study is not None else None
            return trial is not None and trial.state == "running" and trial.token == token and trial.epochs > 0

    def ended(self, token: int) -> bool:
        """Whether attempt `token` at the first trial has ended."""
        with self.database.read() as s:
            study = studies.find(s, "detection")
            trial = trials.get(s, study.id, 0) if study is not None else None
            return trial is not None and trials.attempts(s, trial.id)[token - 1].ended_at is not None


def seconds_until(condition: Callable[[], bool]) -> float:
    """Wait for something; how long it took."""
    begun = time.monotonic()
    while not condition():
        if time.monotonic() - begun > PATIENCE_SECONDS:
            raise SystemExit("It never happened.")
        time.sleep(0.02)
    return time.monotonic() - begun


def one_round(number: signal.Signals | None) -> dict[str, float]:
    """Send a signal to a worker, then kill the coordinator and start the next."""
    with tempfile.TemporaryDirectory(prefix="ockham-detection-", ignore_cleanup_errors=True) as folder:
        bench, found = Bench(Path(folder)), {}
        first = bench.start()
        seconds_until(lambda: bench.training(1))
        if number is not None:
            [worker] = psutil.Process(first.pid).children()
            worker.send_signal(number)
            name = "worker killed" if number == signal.SIGKILL else "worker frozen"
            found[name] = seconds_until(lambda: bench.ended(1))
        term = bench.term()
        first.kill()
        first.wait()
        second = bench.start()
        found["coordinator ready after its restart"] = seconds_until(lambda: bench.term() > term)
        second.kill()
        second.wait()
        bench.database.close()
        return found


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--hang", action="store_true", help="freeze a worker as well")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    options = parser.parse_args()
    rounds = [one_round(signal.SIGKILL) for _ in range(options.rounds)]
    rounds += [one_round(signal.SIGSTOP)] if options.hang else []
    figures = {name: [found[name] for found in rounds if name in found] for name in rounds[0] | rounds[-1]}
    for name, seconds in figures.items():
        print(f"{name:40}median {statistics.median(seconds):6.2f} s, most {max(seconds):6.2f} s of {len(seconds)}")
    if options.json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
