"""The README's first study, executed as it stands: a local Ray, SQLite, and a promoted model that TensorFlow serves."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parent.parent.parent


def python_blocks(text: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


def served_accuracy(path: str) -> float:
    """Of the test part of the digits, by the model's own signature."""
    import tensorflow as tf

    from examples.digits import load

    _, _, (x, y) = load()
    serve = tf.saved_model.load(path).signatures["serving_default"]
    (name,) = serve.structured_input_signature[1]
    (answer,) = serve(**{name: tf.constant(x)}).values()
    return float((answer.numpy().argmax(axis=1) == y).mean())


def left_behind(home: str) -> list[psutil.Process]:
    """Processes that were started with this TUNER_HOME and are still there ten seconds later."""
    with_home = [
        process
        for process in psutil.process_iter(["environ"])
        if (process.info["environ"] or {}).get("TUNER_HOME") == home
    ]
    alive: list[psutil.Process] = psutil.wait_procs(with_home, timeout=60)[1]
    return alive


@pytest.mark.ray
@pytest.mark.tensorflow
def test_the_first_study_of_the_readme_ends_in_a_model_that_serves(tmp_path: Path) -> None:
    [block] = python_blocks((ROOT / "README.md").read_text())
    environment = {**os.environ, "TUNER_HOME": str(tmp_path / "home"), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", block]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    params, score, path = done.stdout.strip().splitlines()
    assert "'depth'" in params
    assert re.match(
        r"val_accuracy is [\d.]+ on the rows that chose it among \d+, and [\d.]+ ± [\d.]+ on 359 rows", score
    )
    assert path == str(tmp_path / "home/models/digits/1")
    assert served_accuracy(path) > 0.9, "the served model does not know the digits"
    assert not left_behind(environment["TUNER_HOME"])
