"""Whether proposals that are compared by what they promise for their cost find more in the same time.

    .venv/bin/python benchmarks/sampling_costs.py DATA [--seeds 30] [--processes 2]

DATA is a folder with HPO-Bench's tables, as for sampling.py: real trainings of networks of other depths, widths and
batch sizes, with the seconds that each took. A study asks `gp` for cohorts of eight until it has used so many times
what the median configuration takes; a cohort takes one and a half times as long as its members do on average, and
every trial costs a part of the median besides. "Win" is the share of pairs of seeds in which the configuration that
looked best is truly better than without costs, a draw counting half.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.sampling import COHORT, table, win
from tuner.samplers.sampling import Observation, Sampler

BUDGETS = (100, 200, 400, 800)  # times what the median configuration takes
TOGETHER, EVERY = 1.5, 0.15  # what a cohort takes beside its members' mean, and every trial of the median besides


def run(data: Path, name: str, by_cost: bool, seed: int) -> list[float]:
    """The true score of what looked best at each of `BUDGETS`, of one study."""
    bench, shown = table(data, name), np.random.default_rng(seed)
    seconds = np.load(data / "tables" / f"{name}.npz")["train_time"].astype(float).mean(-1)
    median = float(np.median(seconds))

    def cost(params: Mapping[str, Any]) -> float:
        return float(seconds[tuple(params[axis] for axis in bench.axes)] / median + EVERY)

    sampler = Sampler(bench.space, "gp", seed, "minimize", cost if by_cost else None)
    used, best, true, number = 0.0, np.inf, np.inf, 0
    at = dict.fromkeys(BUDGETS, np.inf)
    while used < max(BUDGETS):
        proposals = sampler.propose_together(number, COHORT, bench.varied)
        used += TOGETHER * float(np.mean([cost(proposal.params) for proposal in proposals]))
        for proposal in proposals:
            repeats = bench.repeats(proposal.params)
            value = float(shown.choice(repeats))
            if value < best:
                best, true = value, float(repeats.mean())
            sampler.observe(Observation(number, "complete", proposal.params, value, {}, proposal.notes))
            number += 1
        at.update({budget: true for budget in BUDGETS if used <= budget or at[budget] == np.inf})
    return [at[budget] for budget in BUDGETS]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    names = sorted(path.stem for path in (arguments.data / "tables").glob("hpobench_*.npz"))
    if not names:
        sys.exit(f"{arguments.data / 'tables'} has no hpobench_NAME.npz.")
    print("| table | " + " | ".join(f"win after {budget}" for budget in BUDGETS) + " |")
    with ProcessPoolExecutor(arguments.processes) as pool:
        for name in names:
            without, by_cost = (
                np.array(list(pool.map(partial(run, arguments.data, name, by), range(arguments.seeds))))
                for by in (False, True)
            )
            wins = [win(by_cost[:, column], without[:, column]) for column in range(len(BUDGETS))]
            print(f"| {name} | " + " | ".join(f"{share:.2f}" for share in wins) + " |", flush=True)


if __name__ == "__main__":
    main()
