"""Studies of functions that a script or a notebook defines, run as their users run them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from db import code_packages
from db.engine import Database
from tests import promotions
from tests.commands import environment
from tuner import InvalidStudy, Settings, Study, create_study, load_study
from tuner.coordination.coordinator import Coordinator
from tuner.payload.user_code import FOLDER
from tuner.promoting import promotion
from tuner.removal import delete_study
from tuner.reporting.results import trial_results
from tuner.submission import submit
from workers.artifacts import ArtifactStore
from workers.contract import CheckReport
from workers.launchers import launcher

SCRIPT = """
import their_helper
import tuner

with open("times.txt", "a") as file:
    file.write("run\\n")

SCALE = 2.0

def scored(x):
    return their_helper.VALUE * SCALE - x

def train(run):
    for epoch in range(run.epoch, run.epochs):
        run.report({"val_loss": scored(run.params["x"])}, state={})

study = tuner.create_study(
    "study", loop=train, space={"x": {"type": "float", "low": 0.0, "high": 1.0}}, objective="val_loss",
    trials=2, epochs=1, sampler="random",
)
before = study.state
study.run(progress=False)
print(before, study.state, study.definition.loop, study.best_value)
"""
CELLS = [
    "import tuner\nfrom tuner import Settings",
    "BAD = 0.5",
    """
def train(run):
    if run.params["x"] > BAD:
        raise ValueError("too large")  # in a cell
    run.report({"val_loss": 1.0}, state={})
""",
    """
space = {"x": {"type": "choice", "options": [0.0, 1.0]}}
study = tuner.create_study("study", loop=train, space=space, objective="val_loss", trials=2, epochs=1, sampler="grid")
study.run(progress=False)
""",
    "[bad] = [trial for trial in study.trials if trial.state == 'failed']",
    "print(bad.message, study.best_params)",
]
KERNEL = """
import linecache, sys
for number, cell in enumerate(CELLS):
    file = f"/tmp/ipykernel_0/{number}.py"
    linecache.cache[file] = (len(cell), None, cell.splitlines(keepends=True), file)
    exec(compile(cell, file, "exec"), globals())
"""


def run(folder: Path, source: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python tune.py` in a folder."""
    (folder / "tune.py").write_text(source)
    command = [sys.executable, "tune.py"]
    names = environment(folder / "home", **variables)
    return subprocess.run(command, cwd=folder, env=names, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("kind", ["inline", "processes"])
def test_a_script_that_is_run_again_finds_its_study(kind: str, tmp_path: Path) -> None:
    (tmp_path / "their_helper.py").write_text("VALUE = 3.0\n")
    first = run(tmp_path, SCRIPT, TUNER_LAUNCHER=kind)
    assert first.stdout.startswith("new finished main_"), first.stderr
    again = run(tmp_path, SCRIPT.replace("SCALE", "# a comment\nSCALE", 1), TUNER_LAUNCHER=kind)
    assert again.stdout == first.stdout.replace("new", "finished"), again.stderr
    assert (tmp_path / "times.txt").read_text() == "run\n" * 2, "no worker has run the script"
    edited = run(tmp_path, SCRIPT.replace("SCALE = 2.0", "SCALE = 3.0"), TUNER_LAUNCHER=kind)
    assert "StudyExists" in edited.stderr and "`loop` is other code than that of the study" in edited.stderr


def test_a_notebook_is_told_what_failed_in_a_cell(tmp_path: Path) -> None:
    done = run(tmp_path, f"CELLS = {CELLS!r}\n{KERNEL}", TUNER_LAUNCHER="processes")
    assert done.stdout == "ValueError (2.py, line 4): too large {'x': 0.0}\n", done.stderr


SPACE = {"x": {"type": "choice", "options": [0.0, 1.0]}}
FORM: dict[str, Any] = {"space": SPACE, "objective": "val_loss", "trials": 2, "epochs": 1}


def from_a_cell(settings: Settings) -> Study:
    """A study of a function that is nowhere but here, and that needs a module of the folder."""
    cell: dict[str, Any] = {"__name__": "__main__", "BY": 3.0}
    report = 'run.report({"val_loss": BY * their_helper.VALUE}, state={})'
    exec(f"def train(run):\n    import their_helper\n    {report}\n", cell)
    return create_study("study", loop=cell["train"], settings=settings, **FORM)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Callable[[str], Settings]:
    """Those of a machine that has its own disk and the database; only "laptop" has the helper."""
    for machine in ("laptop", "server"):
        (tmp_path / machine).mkdir()
    (tmp_path / "laptop" / "their_helper.py").write_text("VALUE = 1.0\n")

    def load(machine: str) -> Settings:
        home, code = tmp_path / machine / "home", [tmp_path / machine]
        return Settings.load({}, home=home, database=database_url, launcher="processes", workers=1, import_paths=code)

    return load


def test_it_goes_to_workers_that_have_nothing_of_it(database: Database, settings: Callable[[str], Settings]) -> None:
    """But for the files of the folder that it imports from."""
    laptop, server = settings("laptop"), settings("server")
    study = from_a_cell(laptop).submit()
    study.database.close()
    assert not laptop.artifacts.exists(), "the dry run's package went with it"
    workers = launcher("processes", workers=1)
    coordinator = Coordinator(database, workers, server)
    try:
        while [trial.state for trial in trial_results(database, "study")] != ["complete"] * 2:
            if not coordinator.step():
                coordinator.wait(0.05)
    finally:
        coordinator.close()
        workers.close()
    assert {trial.value for trial in trial_results(database, "study")} == {3.0}


def test_a_refused_study_leaves_no_code(database: Database, settings: Callable[[str], Settings]) -> None:
    laptop = settings("laptop")
    refused = from_a_cell(laptop)
    with pytest.raises(InvalidStudy, match="It is refused"):
        submit(refused.definition, lambda _: CheckReport(problems=("It is refused.",)), laptop, refused._memory)
    assert not laptop.home.exists()
    good = from_a_cell(laptop)
    submit(good.definition, lambda _: CheckReport(), laptop, good._memory)
    [key] = ArtifactStore(laptop.artifacts).keys(FOLDER)
    with database.read() as s:
        assert [f"{FOLDER}/{sha256}" for sha256 in code_packages.all_sha256(s)] == [key]
    again = from_a_cell(laptop)
    assert not submit(again.definition, lambda _: CheckReport(), laptop, again._memory)[1]
    assert delete_study(database, laptop, "study") == [key]


def test_a_study_is_run_on_by_its_name_alone(tmp_path: Path) -> None:
    """From another folder, by a program without the function."""
    (tmp_path / "their_helper.py").write_text("VALUE = 1.0\n")
    here = Settings.load({}, home=tmp_path / "home", launcher="processes", workers=1, import_paths=[tmp_path])
    study = from_a_cell(here)
    submit(study.definition, lambda _: CheckReport(), here, study._memory)
    (tmp_path / "elsewhere").mkdir()
    there = Settings.load({}, home=tmp_path / "home", launcher="inline", import_paths=[tmp_path / "elsewhere"])
    assert load_study("study", settings=there).run(progress=False).best_value == 3.0


CODE = """
import keras, keras_tuner, numpy as np

class Scale(keras.layers.Layer):
    def call(self, x):
        return 2.0 * x

@keras.saving.register_keras_serializable("their_package")
class Shift(keras.layers.Layer):
    def call(self, x):
        return x + 1.0

def network(units):
    return keras.Sequential([keras.Input((3,)), Scale(), Shift(), keras.layers.Dense(units), keras.layers.Dense(1)])

class Tuned(keras_tuner.HyperModel):
    def __init__(self, loss):
        super().__init__()
        self.loss = loss

    def build(self, hp):
        model = network(hp.Int("units", 2, 4))
        model.compile("sgd", self.loss)
        return model

def load():
    x = np.random.default_rng(0).normal(size=(300, 3)).astype("float32")
    return x, x.sum(axis=1)

def train(run):
    run.report({"val_loss": 1.0}, model=network(run.params["units"]))
"""


@pytest.mark.tensorflow
def test_keras_models_of_a_notebook_are_tuned_and_promoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A HyperModel that was created there, with data from a function, and a loop whose layers Keras has to find."""
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    settings = Settings.load({}, home=tmp_path / "home", launcher="processes", workers=1)
    cell: dict[str, Any] = {"__name__": "__main__"}
    exec(compile(CODE, "<cell>", "exec"), cell)
    options: dict[str, Any] = {"settings": settings, "trials": 1, "epochs": 1, "sampler": "random"}
    study = create_study("tuned", model=cell["Tuned"]("mse"), data={"function": cell["load"], "seed": 1}, **options)
    study.run(progress=False)
    assert study.promote("tuned").final is not None
    loop = create_study(
        "loop",
        loop=cell["train"],
        space={"units": {"type": "int", "low": 2, "high": 3}},
        objective="val_loss",
        **options,
    )
    assert loop.run(progress=False).promote("loop").number == 1
