"""What is found by a part of the rows that validates, and by folds that validate in turn, for as many trainings.

    .venv/bin/python benchmarks/cross_validation.py DATA [--sets credit_g australian] [--seeds 5] [--trials 100]

DATA is a folder with `tabular/NAME.tsv.gz`: tab separated, with a column `target`. Half of the rows are the test part.
Of the others a fifth validates, or each fifth in its turn. The winner is trained again on all of them and scored on the
test part. Prints by set and seed the test loss of both, the lower the better, and in how many pairs folds had the lower
one.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

WAYS: dict[str, dict[str, Any]] = {"part": {"validation": 0.1}, "folds": {"folds": 5}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--sets", nargs="+", default=["credit_g", "australian"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=100)
    arguments = parser.parse_args()
    for name in arguments.sets:
        path = arguments.data / "tabular" / f"{name}.tsv.gz"
        if not path.is_file():
            sys.exit(f"{path} is not there: this benchmark needs the data that its docstring names.")
        pairs = []
        for seed in range(arguments.seeds):
            pairs.append([found(path, way, seed, arguments.trials) for way in WAYS])
            print(f"{name} seed {seed}: part {pairs[-1][0]:.4f}, folds {pairs[-1][1]:.4f}", flush=True)
        means = [statistics.fmean(losses) for losses in zip(*pairs, strict=True)]
        better = sum(folds < part for part, folds in pairs)
        print(
            f"{name}: part {means[0]:.4f}, folds {means[1]:.4f}, folds better in {better} of {len(pairs)}", flush=True
        )


def found(path: Path, way: str, seed: int, trials: int) -> float:
    """The test loss of a study's winner, trained again on all rows but the test part."""
    from tuner import Settings, create_study

    with tempfile.TemporaryDirectory() as home:
        study = create_study(
            way,
            data={"path": path, "target": "target", "task": "classification", "test": 0.5, "seed": seed, **WAYS[way]},
            space={"family": "mlp", "depth": [1, 3], "width": [8, 128]},
            trials=trials,
            seed=seed,
            settings=Settings.load({}, home=home, launcher="processes", workers=2),
        )
        study.run(progress=False)
        return float(study.promote(refit=True).scores["test"]["data_loss"])


if __name__ == "__main__":
    main()
