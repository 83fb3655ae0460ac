"""A worker's memory over many short Keras trials: does it grow?

    .venv/bin/python benchmarks/memory.py [--trials 200]

One worker process, which is never replaced here, trains the digits for one epoch with another structure each time.
Prints its resident memory after the 20th and after the last trial, and the ratio of the two.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def resident_memory(trials: int) -> list[int]:
    """Bytes that the worker holds after each finished trial."""
    from search_spaces import mlp
    from tuner.configuration import Settings
    from tuner.coordination.coordinator import Coordinator
    from tuner.databases import open_database
    from tuner.definitions.definition import parse
    from tuner.reporting.results import study_row, summary
    from tuner.submission import submit
    from workers.contract import CheckReport
    from workers.launchers import launcher

    with tempfile.TemporaryDirectory() as home:
        settings = Settings.load({}, home=Path(home), import_paths=str(ROOT))
        space = mlp(depth=(1, 4), width=(16, 128))
        form = {"name": "memory", "data": "examples.digits:load", "space": space, "trials": trials, "epochs": 1}
        submit(parse({**form, "sampler": "random", "pruner": "none"}), lambda _: CheckReport(), settings)
        workers = launcher("processes", workers=1, trials=trials + 1)
        sizes: list[int] = []
        try:
            with open_database(settings) as database:
                coordinator = Coordinator(database, workers, settings, only="memory")
                while study_row(database, "memory").state == "active":
                    if not coordinator.step():
                        coordinator.wait(0.2)
                    counts = summary(database, "memory").counts
                    finished = sum(count for state, count in counts.items() if state not in ("queued", "running"))
                    if finished > len(sizes):
                        pids = [worker["pid"] for worker in workers.describe() if worker["pid"]]
                        sizes.extend([psutil.Process(pids[0]).memory_info().rss] * (finished - len(sizes)))
        finally:
            workers.close()
        return sizes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=200)
    trials = parser.parse_args().trials
    sizes = resident_memory(trials)
    print(f"after trial 20: {sizes[19] / 2**20:.0f} MiB")
    print(f"after trial {len(sizes)}: {sizes[-1] / 2**20:.0f} MiB, {sizes[-1] / sizes[19]:.3f} times as much")


if __name__ == "__main__":
    main()
