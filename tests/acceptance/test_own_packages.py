"""A user's folder may have packages with the names of Ockham's rooms, which its code does not need."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests import commands
from tuner.promoting import model_processes
from workers.launchers import ray_session

LOOP = """
def train(run):
    run.report({"score": run.params["x"]})
"""
STUDY = {
    "name": "shadowed",
    "loop": "their_loop:train",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "score",
    "direction": "maximize",
    "sampler": "random",
    "pruner": "none",
    "trials": 1,
    "epochs": 1,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("db", "search_spaces", "tuner", "workers"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('not this one')\n")
    (tmp_path / "their_loop.py").write_text(LOOP)
    (tmp_path / "study.json").write_text(json.dumps(STUDY))
    return tmp_path


@pytest.mark.parametrize("launcher", ["processes", "ray"])
def test_a_study_is_run_beside_packages_of_the_same_names(folder: Path, launcher: str) -> None:
    if launcher == "ray":
        pytest.importorskip("ray")
    # Like `tuner`: a script has no folder in front of what it imports from.
    command = [sys.executable, "-P", "-m", "tuner", "run", "study.json"]
    variables = commands.environment(folder / "home", TUNER_LAUNCHER=launcher, TUNER_WORKERS="1")
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "1 complete" in done.stdout


@pytest.mark.tensorflow
def test_a_promotion_starts_beside_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    [problem] = model_processes.verify_model(str(folder / "nothing"))
    assert "nothing" in problem and "not this one" not in problem


def test_what_clears_up_after_ray_starts_beside_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    left = folder / "left"
    left.mkdir()
    sweeper = ray_session.sweeper(left)
    sweeper.communicate(timeout=60)
    assert (sweeper.returncode, left.exists()) == (0, False)
