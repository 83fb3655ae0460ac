"""What part of a study its sampler takes: the digits by every default, in cohorts, two worker processes.

    .venv/bin/python benchmarks/sampling_share.py [--trials 2000] [--sampler gp] [--json]

The clock starts when both workers have imported their libraries and trained a network, and ends with the last trial.
The sampler's seconds are those that the coordinator spends in being told of trials and in proposing others, CPU and
wall: it shares two cores with the workers.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.peers import ockham
from search_spaces import mlp
from tuner.samplers.sampling import Sampler

used = {"wall": 0.0, "cpu": 0.0}  # seconds of the sampler so far, by clock


def timed(method: Callable[..., Any]) -> Callable[..., Any]:
    """The same method; its time, but for that of calls inside it, is added to `used`."""
    inside = False

    @functools.wraps(method)
    def run(*arguments: Any, **options: Any) -> Any:
        nonlocal inside
        if inside:
            return method(*arguments, **options)
        inside, wall, cpu = True, time.perf_counter(), time.process_time()
        try:
            return method(*arguments, **options)
        finally:
            inside = False
            used["wall"] += time.perf_counter() - wall
            used["cpu"] += time.process_time() - cpu

    return run


def measure(trials: int, sampler: str) -> dict[str, float]:
    """One study."""
    for name in ("observe", "propose", "propose_together"):
        setattr(Sampler, name, timed(getattr(Sampler, name)))
    with ockham.warm_workers("digits") as (settings, workers):
        used.update(wall=0.0, cpu=0.0)
        space = mlp(depth=(1, 4), width=(16, 256))
        ockham.submit_study(ockham.STUDY, "digits", settings, space=space, trials=trials, sampler=sampler)
        seconds = ockham.run_study(ockham.STUDY, settings, workers)
    return {"trials": trials, "seconds": seconds, "sampler_wall": used["wall"], "sampler_cpu": used["cpu"]}


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--sampler", default="gp")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    options = parser.parse_args()
    found = measure(options.trials, options.sampler)
    share = found["sampler_wall"] / found["seconds"]
    print(
        f"{options.trials} trials in {found['seconds']:.1f} s, {options.trials / found['seconds'] * 60:.0f} per minute"
    )
    print(
        f"the sampler: {found['sampler_wall']:.1f} s of wall time, {share:.1%}; {found['sampler_cpu']:.1f} CPU-seconds"
    )
    if options.json:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
