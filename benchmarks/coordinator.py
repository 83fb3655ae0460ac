"""The coordinator's own cost, beside Ray Tune's: empty trials with ten reports each, in one run on the same cores.

    .venv/bin/python benchmarks/coordinator.py [--trials N] [--tune-trials N] [--rounds N] [--postgresql URL] [--json]

Both run random search over one float on two warm Ray actors with reused workers; starting Ray is not timed, nor is
one untimed warm-up of each. Every report of Ockham is in the database when the clock stops, and the run counts them.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from workers.contract import Launcher

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")

REPORTS = 10
WORKERS = 2


def ockham_seconds(trials: int, url: str | None, launcher: Launcher, round_number: int) -> float:
    """Seconds for a study of `trials` empty trials on an open launcher, every report checked to be in the database."""
    from db import reports
    from tuner.configuration import Settings
    from tuner.coordination.coordinator import Coordinator
    from tuner.databases import open_database
    from tuner.definitions.definition import parse
    from tuner.reporting.results import study_row, summary
    from tuner.submission import submit
    from workers.contract import CheckReport

    with tempfile.TemporaryDirectory() as home:
        settings = Settings.load({}, home=Path(home), database=url, import_paths=str(Path.cwd()))
        database = open_database(settings)
        name = f"empty-{trials}-{round_number}-{os.getpid()}"
        space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
        form = {"name": name, "loop": "benchmarks.empty_trial:train", "space": space, "objective": "loss"}
        limits = {"trials": trials, "epochs": REPORTS, "sampler": "random", "pruner": "none", "patience": None}
        submit(parse({**form, **limits}), lambda _: CheckReport(), settings)
        coordinator = Coordinator(database, launcher, settings, only=name)
        begin = time.perf_counter()
        busy = coordinator.step()
        while coordinator.studies:  # as an embedded run does it
            if not busy:
                coordinator.wait(0.05)
            busy = coordinator.step()
        seconds = time.perf_counter() - begin
        with database.read() as s:
            stored = sum(len(curve) for curve in reports.objectives(s, study_row(database, name).id).values())
        if stored != trials * REPORTS or summary(database, name).counts != {"complete": trials}:
            raise SystemExit(f"{stored} reports stored, expected {trials * REPORTS}")
        database.close()
        return seconds


def tune_seconds(trials: int) -> float:
    """Seconds for the same trials in Ray Tune, as its documentation writes them, with reused actors."""
    from ray import tune

    with tempfile.TemporaryDirectory() as home:
        tuner = tune.Tuner(
            tune.with_resources(EmptyTrainable, {"cpu": 1}),
            param_space={"x": tune.uniform(0.0, 1.0)},
            tune_config=tune.TuneConfig(num_samples=trials, max_concurrent_trials=WORKERS, reuse_actors=True),
            run_config=tune.RunConfig(
                storage_path=home,
                verbose=0,
                stop={"training_iteration": REPORTS},
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
            ),
        )
        begin = time.perf_counter()
        results = tuner.fit()
        seconds = time.perf_counter() - begin
        if len(results) != trials or results.num_errors:
            raise SystemExit(f"Ray Tune finished {len(results)} trials, {results.num_errors} of them failed")
        return seconds


def main() -> None:
    arguments = parse_arguments()
    logging.disable(logging.WARNING)
    import ray

    from workers.launchers import launcher

    figures: dict[str, list[float]] = {"ockham sqlite": [], "ockham postgresql": [], "ray tune": []}
    for round_number in range(arguments.rounds):
        workers = launcher("ray", workers=WORKERS, job_name="benchmark", dashboard=False)
        ockham_seconds(10, None, workers, round_number)
        figures["ockham sqlite"].append(
            arguments.trials / ockham_seconds(arguments.trials, None, workers, round_number)
        )
        if arguments.postgresql:
            seconds = ockham_seconds(arguments.trials, arguments.postgresql, workers, round_number)
            figures["ockham postgresql"].append(arguments.trials / seconds)
        workers.close()
        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        tune_seconds(4)
        figures["ray tune"].append(arguments.tune_trials / tune_seconds(arguments.tune_trials))
        ray.shutdown()
    medians = {name: statistics.median(rates) for name, rates in figures.items() if rates}
    print(
        f"{'':20}{'trials/s':>10}{'against Ray Tune':>20}     (median of {arguments.rounds}, {REPORTS} reports a trial)"
    )
    for name, rate in medians.items():
        print(f"{name:20}{rate:10.1f}{rate / medians['ray tune']:19.1f}x")
    if arguments.json:
        print(json.dumps({"trials_per_second": medians, "rounds": figures, "reports": REPORTS, "workers": WORKERS}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--tune-trials", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgresql", help="URL of an empty PostgreSQL database")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    return parser.parse_args()


try:
    from ray.tune import Trainable
except ImportError:
    sys.exit("This benchmark compares with Ray Tune, which is not installed: run scripts/setup.")


class EmptyTrainable(Trainable):
    """Ray Tune's class API, the one that can reuse actors."""

    def setup(self, config: dict[str, float]) -> None:
        self.x = config["x"]
        self.epoch = 0

    def step(self) -> dict[str, float]:
        self.epoch += 1
        return {"loss": self.x / self.epoch}

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Nothing to save; reusing an actor asks for it all the same."""

    def load_checkpoint(self, checkpoint: str | None) -> None:
        """Nothing to load."""

    def reset_config(self, new_config: dict[str, float]) -> bool:
        self.setup(new_config)
        return True


if __name__ == "__main__":
    main()
