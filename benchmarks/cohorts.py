"""Ockham beside its peers: the same configurations, data, epochs and cores; no pruning, no early stopping.

    .venv/bin/python benchmarks/cohorts.py [digits|adult|large] [--only ockham optuna] [--rounds 3] [--json]

    digits   depth 1 to 4, width 16 to 128, 20 epochs, batch 32: 512 configurations, 24 of them by each peer
    adult    depth 1 to 4, width 64 to 256, 10 epochs, batch 32: 64 configurations, 8 of them by each peer
    large    4 x 1047 (4.1 million weights), 3 epochs, batch 128: 8 configurations; the peer is Keras

The peers are KerasTuner's RandomSearch over the list, Optuna and Ray Tune with reused actors, each in two processes;
the networks they train are those of peers/keras_models.py. Their configurations are spread over Ockham's list. A
clock starts when both processes have imported their libraries, loaded the data and trained one network of another
depth, and ends with the last trial. On the configurations that both trained, the median difference between a peer's
best validation error and Ockham's has to be within a tolerance, else the exit status is 1: all do the same work.

`--results FILE` keeps what was measured and leaves out, when called again, what the file has already.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import statistics
import sys
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peers import data
from benchmarks.peers.clock import RUNNERS
from benchmarks.peers.floor import floor
from benchmarks.peers.processes import measured
from benchmarks.peers.results import Results
from benchmarks.peers.workloads import WORKLOADS, Workload

MODULES = {
    "ockham": "ockham",
    "keras_tuner": "kerastuner",
    "optuna": "optuna_keras",
    "ray_tune": "raytune",
    "alone": "alone",
}


Found = dict[str, list[dict[str, Any]]]  # by name, what each round measured


def main() -> None:
    arguments = parse_arguments()
    os.environ.update({data.VARIABLE: str(arguments.data), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"})
    workload = WORKLOADS[arguments.workload]
    points = workload.points(arguments.trials or workload.trials)
    count = min(len(points), arguments.peer_trials or workload.peer_trials)
    places = [number * len(points) // count for number in range(count)]
    found = measure(workload, points, places, arguments)
    report = summary(found, places)
    if "ockham" in found:
        report["floor"] = floor(workload, points)
    show(workload, report, len(points), count)
    if arguments.json:
        print(json.dumps({"workload": workload.name, "trials": len(points), "peer_trials": count, **report}))
    wrong = [name for name, median in report["difference"].items() if abs(median) > workload.tolerance]
    if wrong:
        sys.exit(f"{', '.join(wrong)}: the errors differ from Ockham's by more than {workload.tolerance}.")


def measure(
    workload: Workload, points: list[dict[str, Any]], places: list[int], arguments: argparse.Namespace
) -> Found:
    """Rounds in which one after the other trains: Ockham all points, a peer those at `places`."""
    names = arguments.only or ["ockham", *workload.peers]
    results, found = Results(arguments.results), Found()
    for number in range(arguments.rounds):
        for name in names:
            given = points if name == "ockham" else [points[place] for place in places]
            key = f"{workload.name}/{len(points)}/{len(given)}/{name}/{number}"
            found.setdefault(name, []).append(results.once(key, partial(run, name, workload, given)))
    return found


def run(name: str, workload: Workload, points: list[dict[str, Any]]) -> dict[str, Any]:
    """One measurement, in processes that end with it."""
    outcome, peak = measured(fixed, MODULES[name], workload, points)
    return {"trials_per_minute": 60 * len(points) / outcome.seconds, "peak_bytes": peak, **vars(outcome)}


def fixed(module: str, workload: Workload, points: list[dict[str, Any]]) -> Any:
    """Called in the process that is measured: nothing of a peer is imported in this one."""
    return importlib.import_module(f"benchmarks.peers.{module}").fixed(workload, points)


def summary(found: Found, places: list[int]) -> dict[str, Any]:
    """Medians over the rounds, and over the configurations that all have trained."""
    rates = {name: [item["trials_per_minute"] for item in rounds] for name, rounds in found.items()}
    medians = {name: statistics.median(values) for name, values in rates.items()}
    errors = {name: [item["errors"] for item in rounds] for name, rounds in found.items()}
    if "ockham" in errors:
        errors["ockham"] = [[values[place] for place in places] for values in errors["ockham"]]
    best_peer = max((rate for name, rate in medians.items() if name != "ockham"), default=None)
    parts = [item["parts"] for item in found.get("ockham", [])]
    return {
        "trials_per_minute": medians,
        "rounds": rates,
        "ratio": medians["ockham"] / best_peer if best_peer and "ockham" in medians else None,
        "peak_bytes": {name: max(item["peak_bytes"] for item in rounds) for name, rounds in found.items()},
        "median_error": {name: statistics.median(chain(*rounds)) for name, rounds in errors.items()},
        "difference": {name: _difference(errors["ockham"], errors[name]) for name in errors if "ockham" in errors},
        "core_seconds": {part: statistics.median(item[part] for item in parts) for part in parts[0]} if parts else {},
    }


def _difference(ours: list[list[float]], theirs: list[list[float]]) -> float:
    """Median over configurations and rounds of a peer's error less Ockham's."""
    pairs = zip(chain(*ours), chain(*theirs), strict=True)
    return statistics.median(their - our for our, their in pairs)


def show(workload: Workload, report: dict[str, Any], trials: int, peer_trials: int) -> None:
    """The report as a table."""
    rates = report["trials_per_minute"]
    print(
        f"{workload.name}: {trials} configurations by Ockham, {peer_trials} of them by each peer, {RUNNERS} processes"
    )
    print(f"{'':14}{'trials/min':>12}{'Ockham is':>11}{'peak memory':>13}{'median error':>14}{'difference':>12}")
    for name, rate in rates.items():
        ratio = f"{rates['ockham'] / rate:.2f}x" if "ockham" in rates else ""
        difference = f"{report['difference'][name]:+.4f}" if name in report["difference"] else ""
        memory, error = report["peak_bytes"][name] / 2**20, report["median_error"][name]
        print(f"{name:14}{rate:12.1f}{ratio:>11}{memory:9.0f} MiB{error:14.4f}{difference:>12}")
    if "floor" in report:
        parts, least = report["core_seconds"], report["floor"]
        print(f"Ockham's {parts['all']:.1f} core-seconds, per configuration in milliseconds of one core:")
        lines = {
            "both cores, all of the time": parts["all"],
            "in the training of stacks, tracing included": parts["training"],
            "CPU of the workers": parts["workers"],
            "CPU of the coordinator and the sampler": parts["coordinator"],
            f"plain matrix products, {least['rate'] / 1e9:.1f} billion multiply-adds/s": least["core_seconds"],
        }
        for text, seconds in lines.items():
            print(f"  {text:60}{1000 * seconds / trials:10.1f}{seconds / parts['all']:8.0%}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", nargs="?", choices=WORKLOADS, default="digits")
    parser.add_argument("--only", nargs="+", choices=MODULES, help="measure these alone")
    parser.add_argument("--trials", type=int, help="configurations in the list")
    parser.add_argument("--peer-trials", type=int, help="how many of them each peer trains")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--data", type=Path, default=data.DEFAULT, help="folder of the files that peers/data.py names")
    parser.add_argument("--results", type=Path, help="file of what was measured, to go on from")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
