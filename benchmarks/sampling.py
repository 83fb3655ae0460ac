"""How good the samplers' proposals are, on tables of finished trainings, and what they cost.

    .venv/bin/python benchmarks/sampling.py DATA [--seeds 30] [--json]

DATA is a folder with `tables/search_spaces.json` and `tables/NAME.npz`: complete tables of real trainings (HPO-Bench's
networks over L2, learning rate, width, depth and batch size; FCNet's two-layer nets over nine choices), several repeats
per configuration. A trial is shown one repeat, chosen at random, and a method is scored by the mean over the repeats of
the configuration whose trial looked best. "Win" is the share of pairs of seeds in which a method's score is better than
that of TPE asked for each trial alone; a draw is half a win, and TPE against itself is .50.

Without --tables all that are found are used. Timings are of this process, on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from search_spaces import Choice, Domain, Int, Space
from search_spaces.mlp import mlp
from tuner.samplers.points import random_point
from tuner.samplers.sampling import Observation, Sampler

BUDGETS, COSTS, COHORT = (50, 100), (1.5, 2.0, 4.0), 8  # in trials; a cohort's cost in trials; trials per cohort
KNOWN = (100, 500, 2000)  # finished trials when a proposal is timed
BENCHES: dict[str, tuple[str, float, tuple[str, ...]]] = {  # the score, its sign, and what varies in a cohort
    "hpobench": ("val_acc", -1.0, ("alpha", "learning_rate_init")),
    "hpolib": ("val_loss", 1.0, ("dropout_1", "dropout_2", "init_lr")),
}
LIFTABLE = ("learning_rate", "l1", "l2", "dropout")


@dataclass
class Table:
    """A space whose every point was trained several times; smaller scores are better."""

    space: Space
    varied: tuple[str, ...]
    axes: tuple[str, ...]
    scores: Any  # one axis per parameter, then the repeats

    def repeats(self, params: dict[str, Any]) -> Any:
        domains = self.space.parameters
        return self.scores[
            tuple(d.index_of(params[n]) if isinstance(d := domains[n], Choice) else params[n] for n in self.axes)
        ]


@cache
def table(data: Path, name: str) -> Table:
    bench = name.split("_", maxsplit=1)[0]
    form = json.loads((data / "tables" / "search_spaces.json").read_text())[bench]
    score, sign, varied = BENCHES[bench]
    scores = sign * np.load(data / "tables" / f"{name}.npz")[score].astype(float)
    space = Space({name: _domain(options) for name, options in form["choices"].items()})
    return Table(space, varied, tuple(form["param_order"]), scores)


def _domain(options: Sequence[Any]) -> Domain:
    """The index of a number among the others, which are spaced evenly or by a factor; or one of some names."""
    return Choice(options) if isinstance(options[0], str) else Int(0, len(options) - 1)


def run(data: Path, name: str, kind: str, size: int, trials: int, seed: int) -> list[float]:
    """The score after each trial, of one study whose trials are proposed `size` at a time."""
    bench, shown = table(data, name), np.random.default_rng(seed)
    sampler = Sampler(bench.space, kind, seed, "minimize")
    best, true = np.inf, np.inf
    scores: list[float] = []
    while len(scores) < trials:
        number = len(scores)
        proposals = [sampler.propose(number)] if size == 1 else sampler.propose_together(number, size, bench.varied)
        for k, proposal in enumerate(proposals):
            repeats = bench.repeats(proposal.params)
            value = float(shown.choice(repeats))
            if value < best:
                best, true = value, float(repeats.mean())
            scores.append(true)
            sampler.observe(Observation(number + k, "complete", proposal.params, value, {}, proposal.notes))
    return scores[:trials]


def win(scores: Any, against: Any) -> float:
    """The share of pairs in which the first score is better, a draw counting half."""
    mine, theirs = np.asarray(scores)[:, None], np.asarray(against)[None]
    return float(((mine < theirs) + 0.5 * (mine == theirs)).mean())


def compare(data: Path, names: Sequence[str], seeds: int, kinds: Sequence[str], pool: Any) -> list[dict[str, Any]]:
    """Wins against TPE, per table, method, budget and cost of a cohort (0: trial by trial)."""
    rows = []
    for name in names:
        study = partial(run, data, name)
        alone = {kind: _studies(pool, study, kind, 1, max(BUDGETS), seeds) for kind in kinds}
        most = int(max(BUDGETS) / min(COSTS)) * COHORT
        together = {kind: _studies(pool, study, kind, COHORT, most, seeds) for kind in kinds}
        for budget in BUDGETS:
            tpe = [scores[budget - 1] for scores in alone["tpe"]]
            for kind in kinds:
                row = {"table": name, "sampler": kind, "budget": budget}
                rows.append({**row, "cost": 0.0, "win": win([scores[budget - 1] for scores in alone[kind]], tpe)})
                for cost in COSTS:
                    last = int(budget / cost) * COHORT - 1
                    rows.append({**row, "cost": cost, "win": win([s[last] for s in together[kind]], tpe)})
    return rows


def _studies(pool: Any, study: Any, kind: str, size: int, trials: int, seeds: int) -> Any:
    return list(pool.map(partial(study, kind, size, trials), range(seeds)))


def milliseconds(kind: str, known: int) -> dict[str, float]:
    """Per trial, proposed alone and in cohorts: 9 parameters of `mlp`, so many trials finished in cohorts."""
    space, draw = mlp(), np.random.default_rng(0)
    sampler = Sampler(space, kind, 0, "minimize")
    for number in range(known):
        own = random_point(space, number)
        params = {**random_point(space, KNOWN[-1] + number // COHORT), **{name: own[name] for name in LIFTABLE}}
        value = sum((place - 0.4) ** 2 for place in space.to_unit(params).values()) + 0.1 * float(draw.normal())
        sampler.observe(Observation(number, "complete", params, value))
    sampler.propose(known)  # imports what it needs; the proposal is not kept, so the next one fits again
    spent = {}
    for size in (1, COHORT):
        number, seconds, trials = known, 0.0, max(int(0.08 * known), 5 * size)  # as long as one fit lasts
        while number < known + trials:
            start = time.process_time()
            proposals = sampler.propose_together(number, size, LIFTABLE)
            seconds += time.process_time() - start
            for k, proposal in enumerate(proposals):
                sampler.observe(Observation(number + k, "running", proposal.params, None, {}, proposal.notes))
                value = float(draw.normal())
                sampler.observe(Observation(number + k, "complete", proposal.params, value, {}, proposal.notes))
            number += len(proposals)
        spent["alone" if size == 1 else "together"] = 1e3 * seconds / (number - known)
    return spent


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--tables", nargs="*", default=None)
    parser.add_argument("--samplers", nargs="*", default=["tpe", "gp", "qmc"], help="`tpe` is always compared with")
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    found = sorted(path.stem for path in (arguments.data / "tables").glob("*_*.npz"))
    names = found if arguments.tables is None else arguments.tables
    if not names or not set(names) <= set(found):
        missing = sorted(set(names) - set(found)) or ["any table"]
        sys.exit(f"{arguments.data / 'tables'} does not have {', '.join(missing)}: NAME.npz and search_spaces.json.")
    kinds = list(dict.fromkeys(["tpe", *arguments.samplers]))
    with ProcessPoolExecutor(arguments.processes) as pool:
        rows = compare(arguments.data, names, arguments.seeds, kinds, pool)
    costs = [{"sampler": kind, "known": known, **milliseconds(kind, known)} for kind in kinds for known in KNOWN]
    if arguments.json:
        print(json.dumps({"wins": rows, "milliseconds": costs}))
        return
    show(rows, costs, kinds)


def show(rows: list[dict[str, Any]], costs: list[dict[str, Any]], kinds: Sequence[str]) -> None:
    print("| sampler | budget | alone | " + " | ".join(f"cohorts at {cost:g}" for cost in COSTS) + " |")
    for kind in kinds:
        for budget in BUDGETS:
            chosen = [row for row in rows if (row["sampler"], row["budget"]) == (kind, budget)]
            wins = [np.mean([row["win"] for row in chosen if row["cost"] == cost]) for cost in (0.0, *COSTS)]
            print(f"| {kind} | {budget} | " + " | ".join(f"{w:.2f}" for w in wins) + " |")
    print("\n| sampler | finished trials | ms per trial alone | in cohorts |")
    for row in costs:
        print(f"| {row['sampler']} | {row['known']} | {row['alone']:.1f} | {row['together']:.1f} |")


if __name__ == "__main__":
    main()
