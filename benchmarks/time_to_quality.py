"""How long Ockham takes to what the best peer has found after three minutes, on the same two cores.

    .venv/bin/python benchmarks/time_to_quality.py [digits segmentation california] [--results FILE] [--json]

KerasTuner's Hyperband, Optuna's TPE with its Hyperband pruner, and Ray Tune's ASHA search the same space (depth,
width, activation, optimizer, learning rate, L1, L2, dropout, batch size; see peers/workloads.py) for `--seconds`, each
with two runners. Ockham then runs with its defaults, once per seed, until it is as good as the best of them.

The score is the validation loss without the penalty. A score counts when its epoch is over: for a peer when its
callback has it, for Ockham when the database has it. What a peer's trial has reached counts also where the trial was
not finished, or pruned later; so does Ockham's.

A clock starts when both runners of a peer (KerasTuner's workers, Optuna's processes, Ray Tune's actors, Ockham's worker
processes) have imported their libraries, loaded the data and trained one network of a depth outside the space. Starting
Ray, KerasTuner's chief and Ockham's workers is thus not timed; every trace of a searched network is.

`--results FILE` keeps what was measured and leaves out, when called again, what the file has already. `--only` names
peers, or Ockham, which needs a peer's score in the file or in the same call. A data set takes 3 x 180 s for the peers,
at most as much for Ockham's three seeds, and about 2 minutes for what is not timed.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peers import data
from benchmarks.peers.clock import Course
from benchmarks.peers.processes import measured, raced
from benchmarks.peers.results import Results
from benchmarks.peers.workloads import SEARCHES, Search

PEERS = {"keras_tuner": "kerastuner", "optuna": "optuna_keras", "ray_tune": "raytune"}
SEEDS = (0, 1, 2)


def main() -> None:
    arguments = parse_arguments()
    os.environ.update({data.VARIABLE: str(arguments.data), "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONWARNINGS": "ignore"})
    results = Results(arguments.results)
    print(f"{'':28}{'score':>10}{'epochs':>8}   seconds")
    found = {name: measure(name, results, arguments) for name in arguments.searches or SEARCHES}
    if arguments.json:
        print(json.dumps({"seconds": arguments.seconds, "searches": found}))


def measure(name: str, results: Results, arguments: argparse.Namespace) -> dict[str, Any]:
    """What the peers have found on one data set, and when Ockham was as good."""
    task, seconds = SEARCHES[name], arguments.seconds
    peers: dict[str, Any] = {}
    for peer in PEERS:
        key = f"{name}/{seconds:g}/{peer}"
        if peer in arguments.only or key in results:
            peers[peer] = results.once(key, partial(search, peer, task, seconds))
            show(name, peer, peers[peer]["score"], peers[peer]["epochs"], f"{seconds:.1f}")
    target = min((item["score"] for item in peers.values() if item["score"] is not None), default=None)
    if "ockham" not in arguments.only or target is None:
        return {"peers": peers}
    runs = []
    for seed in SEEDS:
        key = f"{name}/{seconds:g}/ockham/{seed}/{target:.6f}"
        runs.append(results.once(key, partial(ockham, task, target, seconds, seed)))
        show(name, f"ockham {seed}", runs[-1]["best"], "", told(runs[-1]["seconds"]))
    median = statistics.median(math.inf if run["seconds"] is None else run["seconds"] for run in runs)
    reached = None if math.isinf(median) else median
    share = "" if reached is None else f", {reached / seconds:.3f} of {seconds:g} s"
    show(name, "ockham median", target, "", told(reached) + share)
    return {"peers": peers, "target": target, "ockham": runs, "median_seconds": reached}


def show(name: str, who: str, score: float | None, epochs: int | str, seconds: str) -> None:
    best = "none" if score is None else f"{score:.4f}"
    print(f"{name:14}{who:14}{best:>10}{epochs:>8}   {seconds}", flush=True)


def told(seconds: float | None) -> str:
    return "not reached" if seconds is None else f"{seconds:.1f}"


def search(peer: str, task: Search, seconds: float) -> dict[str, Any]:
    """A peer's best score after `seconds`, None where it had none, and the epochs that it trained until then."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        course = Course(folder)
        raced(_search, course, seconds, PEERS[peer], task)
        scores = [score for at, score in course.scores() if at <= seconds and math.isfinite(score)]
        return {"score": min(scores, default=None), "epochs": len(scores)}


def ockham(task: Search, target: float, seconds: float, seed: int) -> dict[str, Any]:
    """One run of Ockham with this seed, see `peers.ockham.reach`; with the most memory that it took, in bytes."""
    run, peak = measured(_reach, task, target, seconds, seed)
    return {**run, "peak_bytes": peak}


def _search(course: Course, module: str, task: Search) -> None:
    importlib.import_module(f"benchmarks.peers.{module}").search(course, task)


def _reach(*arguments: Any) -> Any:
    return importlib.import_module("benchmarks.peers.ockham").reach(*arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("searches", nargs="*", metavar="data", help=f"of {', '.join(SEARCHES)}; default: all")
    everyone = [*PEERS, "ockham"]
    parser.add_argument("--only", nargs="+", choices=everyone, default=everyone, help="measure these alone")
    parser.add_argument("--seconds", type=float, default=180.0, help="that each peer has (default: 180)")
    parser.add_argument("--data", type=Path, default=data.DEFAULT, help="folder of the files that peers/data.py names")
    parser.add_argument("--results", type=Path, help="file of what was measured, to go on from")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.searches if name not in SEARCHES]
    if unknown:
        parser.error(f"{unknown[0]!r} is no data set of this benchmark; choose of {', '.join(SEARCHES)}.")
    return arguments


if __name__ == "__main__":
    main()
