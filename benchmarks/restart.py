"""`kill -9` of the driver after 14 of 40 trials, and a restart as each documentation says: Ockham beside Ray Tune.

    .venv/bin/python benchmarks/restart.py [--seconds S ...] [--trials N] [--after N] [--workers N] [--json]

Both run random search over one float on warm Ray actors; a trial reports ten times and saves its state each time. The
trials themselves write down when they begin, report and end, so nobody is asked what it believes. A run ends when
all trials are over. Seconds to resume are from the start of the second driver to the first report after it, Ray's
start included.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

EPOCHS = 10
HOME, SECONDS, TRIALS, WORKERS = "RESTART_HOME", "RESTART_SECONDS", "RESTART_TRIALS", "RESTART_WORKERS"
PATIENCE_SECONDS = 3600.0


# --- what a trial does ----------------------------------------------------------------------------------------------


def note(what: str, trial: str, x: float) -> None:
    """Write down what a trial does: one line in one write, so that lines of several processes do not mix."""
    line = json.dumps({"what": what, "trial": trial, "x": x, "at": time.time()}) + "\n"
    with (Path(os.environ[HOME]) / "notes").open("a") as file:
        file.write(line)


def train_ockham(run: Any) -> None:
    """A trial of Ockham."""
    trial, x = str(run.trial), run.params["x"]
    note("begin", trial, x)
    for epoch in range(run.epoch, run.epochs):
        time.sleep(float(os.environ[SECONDS]) / EPOCHS)
        note("report", trial, x)
        if epoch + 1 == run.epochs:
            note("end", trial, x)
        run.report({"loss": x / (epoch + 1)}, state={"epoch": epoch})


def train_tune(config: dict[str, float]) -> None:
    """A trial of Ray Tune, with a checkpoint per report, as its guide to fault tolerance writes it."""
    from ray import tune

    trial, x = tune.get_context().get_trial_id(), config["x"]
    note("begin", trial, x)
    start, saved = 0, tune.get_checkpoint()
    if saved is not None:
        with saved.as_directory() as folder:
            start = json.loads((Path(folder) / "state.json").read_text())["epoch"] + 1
    for epoch in range(start, EPOCHS):
        time.sleep(float(os.environ[SECONDS]) / EPOCHS)
        note("report", trial, x)
        if epoch + 1 == EPOCHS:
            note("end", trial, x)
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "state.json").write_text(json.dumps({"epoch": epoch}))
            tune.report({"loss": x / (epoch + 1)}, checkpoint=tune.Checkpoint.from_directory(folder))


# --- the drivers: processes of their own ----------------------------------------------------------------------------


def drive_ockham(home: Path) -> list[float]:
    """Run the study, or go on with it; the `x` of every completed trial."""
    from db import trials
    from tuner.configuration import Settings
    from tuner.databases import open_database
    from tuner.definitions.definition import parse
    from tuner.reporting.results import study_row
    from tuner.running import run

    workers, count = int(os.environ[WORKERS]), int(os.environ[TRIALS])
    settings = Settings.load({}, home=home, launcher="ray", workers=workers, import_paths=str(ROOT))
    form = {
        "name": "restart",
        "loop": "benchmarks.restart:train_ockham",
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "objective": "loss",
        "trials": count,
        "epochs": EPOCHS,
        "workers": workers,
        "checkpoint_seconds": 0.001,
        "sampler": "random",
        "pruner": "none",
        "patience": None,
    }
    run(parse(form), settings)
    with open_database(settings) as database, database.read() as s:
        rows = trials.all(s, study_row(database, "restart").id)
        return [row.params["x"] for row in rows if row.state == "complete"]


def drive_tune(home: Path) -> list[float]:
    """Fit the tuner, or restore it where there is one; the `x` of every result without an error."""
    import ray
    from ray import tune

    workers, count = int(os.environ[WORKERS]), int(os.environ[TRIALS])
    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    path = home / "restart"
    trainable = tune.with_resources(train_tune, {"cpu": 1})
    if tune.Tuner.can_restore(str(path)):
        tuner = tune.Tuner.restore(str(path), trainable, resume_unfinished=True, resume_errored=True)
    else:
        tuner = tune.Tuner(
            trainable,
            param_space={"x": tune.uniform(0.0, 1.0)},
            tune_config=tune.TuneConfig(num_samples=count, max_concurrent_trials=workers, reuse_actors=True),
            run_config=tune.RunConfig(name="restart", storage_path=str(home), verbose=0),
        )
    return [result.config["x"] for result in tuner.fit() if result.error is None and result.config]


DRIVERS = {"ockham": drive_ockham, "ray tune": drive_tune}


# --- the measurement ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restart:
    """What a restart kept."""

    system: str
    seconds_per_trial: float
    finished: int  # trials that had ended when the driver was killed
    kept: int  # of those, how many are among the results at the end
    ended_again: int  # of those, how many were trained again
    begun_twice: int  # ids that began more than once, the interrupted ones included
    results: int  # at the end
    resumed: float  # seconds from the second driver's start to the first report
    total: float  # seconds of both drivers together


def measure(system: str, seconds: float, options: argparse.Namespace) -> Restart:
    """Run a system, kill its driver, run it again."""
    with tempfile.TemporaryDirectory(prefix="ockham-restart-", ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        variables = {HOME: folder, SECONDS: str(seconds), TRIALS: str(options.trials), WORKERS: str(options.workers)}
        begun = time.time()
        with driver(system, variables) as first:
            while sum(line["what"] == "end" for line in notes(home)) < options.after:
                if first.poll() is not None:
                    raise SystemExit(f"{system} ended by itself: {(home / 'log').read_text()[-2000:]}")
                time.sleep(0.05)
            time.sleep(0.5)  # the last report arrives
            first.kill()
            first.wait()
        before, killed = notes(home), time.time()
        with driver(system, variables) as second:
            second.wait(PATIENCE_SECONDS)
        ended = time.time()
        if second.returncode != 0:
            raise SystemExit(f"{system} could not be restarted: {(home / 'log').read_text()[-2000:]}")
        results = json.loads((home / "results.json").read_text())
        return judge(system, seconds, before, notes(home)[len(before) :], results, killed, ended - begun)


def judge(
    system: str,
    seconds: float,
    before: list[dict[str, Any]],
    after: list[dict[str, Any]],
    results: list[float],
    killed: float,
    total: float,
) -> Restart:
    """Compare what the trials wrote down before and after the kill with the results."""
    finished = {line["trial"]: line["x"] for line in before if line["what"] == "end"}
    ended = [line["trial"] for line in after if line["what"] == "end"]
    begun = [line["trial"] for line in (*before, *after) if line["what"] == "begin"]
    reports = [line["at"] for line in after if line["what"] == "report" and line["at"] > killed + seconds / EPOCHS]
    return Restart(
        system,
        seconds,
        len(finished),
        sum(x in results for x in finished.values()),
        sum(trial in finished for trial in ended),
        len({trial for trial in begun if begun.count(trial) > 1}),
        len(results),
        round(min(reports, default=float("nan")) - killed, 1),
        round(total, 1),
    )


@contextmanager
def driver(system: str, variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A driver's process; whatever it started is ended afterwards."""
    environment = {**os.environ, **variables, "RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": str(ROOT)}
    with (Path(variables[HOME]) / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, __file__, "--drive", system], env=environment, stdout=log, stderr=log
        )
        try:
            yield process
        finally:
            for left in psutil.process_iter():
                with suppress(psutil.Error):
                    if left.pid != os.getpid() and left.environ().get(HOME) == variables[HOME]:
                        left.kill()


def notes(home: Path) -> list[dict[str, Any]]:
    """What trials wrote down so far."""
    file = home / "notes"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, nargs="+", default=[1.0, 30.0], help="per trial (default 1 and 30)")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--after", type=int, default=14, help="trials that end before the kill")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    parser.add_argument("--drive", choices=DRIVERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        home = Path(os.environ[HOME])
        (home / "results.json").write_text(json.dumps(DRIVERS[options.drive](home)))
        return
    found = [measure(system, seconds, options) for seconds in options.seconds for system in DRIVERS]
    names = ["system", "s/trial", "finished", "kept", "again", "twice", "results", "resumed", "total"]
    print("".join(f"{name:>10}" for name in names))
    for item in found:
        print("".join(f"{value!s:>10}" for value in asdict(item).values()))
    if options.json:
        print(
            json.dumps({"trials": options.trials, "workers": options.workers, "rows": [asdict(item) for item in found]})
        )


if __name__ == "__main__":
    main()
