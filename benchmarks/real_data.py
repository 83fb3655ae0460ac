"""A study over real data from its YAML file to a served prediction, timed.

    .venv/bin/python benchmarks/real_data.py DATA taxi [--launcher processes] [--home DIR]

DATA is a folder with `taxi/taxi-{train,valid,test}.csv` (New York taxi fares) or `california/california_sklearn.csv.gz`
(California housing); the studies are in benchmarks/studies. The promoted model is loaded by TensorFlow alone, in a
process of its own, and asked through `serving_default` with raw columns of the first rows of the file.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

ASK = """
import json, sys
import tensorflow as tf
path, rows = sys.argv[1], json.loads(sys.argv[2])
serve = tf.saved_model.load(path).signatures["serving_default"]
inputs = {}
for name, spec in serve.structured_input_signature[1].items():
    column = [row[name] for row in rows]
    tensor = tf.constant(column) if spec.dtype == tf.string else tf.constant([float(v) for v in column], spec.dtype)
    inputs[name] = tf.reshape(tensor, [-1, *spec.shape[1:]])
(answer,) = serve(**inputs).values()
print(json.dumps(answer.numpy().ravel().tolist()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("study", choices=["taxi", "california"])
    parser.add_argument("--launcher", default="ray")
    parser.add_argument("--home", type=Path)
    arguments = parser.parse_args()
    if not (arguments.data / arguments.study).is_dir():
        sys.exit(f"{arguments.data / arguments.study} is not there: this benchmark needs the data its docstring names.")
    with tempfile.TemporaryDirectory() as folder:
        run(arguments.data, arguments.study, arguments.home or Path(folder), arguments.launcher)


def run(data: Path, name: str, home: Path, launcher: str) -> None:
    """Run, promote and ask the study called `name`."""
    from tuner.configuration import Settings
    from tuner.definitions.definition import parse
    from tuner.study import Study

    form = yaml.safe_load((ROOT / "benchmarks" / "studies" / f"{name}.yaml").read_text())
    settings = replace(Settings.load({}, home=home, launcher=launcher), import_paths=(str(ROOT),))
    study = Study(parse(form, base=data.absolute()), settings)
    begin = time.perf_counter()
    study.run()
    ran = time.perf_counter() - begin
    version = study.promote()
    print(f"{name}: {study.summary().counts} in {ran:.0f} s, promoted in {time.perf_counter() - begin - ran:.0f} s")
    print(f"best {study.definition.objective} {study.best_value:.5g} with {study.best_params}")
    print(f"test {version.scores['test']}")
    rows = first_rows(data / form["data"].get("test", form["data"]["path"]), 5)
    asked = [sys.executable, "-c", ASK, version.path, json.dumps(rows)]
    answer = json.loads(subprocess.run(asked, capture_output=True, text=True, check=True).stdout)
    target = form["data"]["target"]
    for row, predicted in zip(rows, answer, strict=True):
        print(f"{target} {row[target]:>10}  predicted {predicted:.4g}")


def first_rows(path: Path, count: int) -> list[dict[str, Any]]:
    """The first rows of a CSV file, as text by column."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as file:
        return [row for row, _ in zip(csv.DictReader(file), range(count), strict=False)]


if __name__ == "__main__":
    main()
