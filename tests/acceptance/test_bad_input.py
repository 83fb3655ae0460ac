"""Bad input through the real command: its sentence, its exit code, no traceback, no row and no folder.

tests/unit/test_definition.py and test_study_file.py hold the tables of what a study's file may say wrong. Here is
what only shows at the command line, at the database, and in the dry run.
"""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from db.engine import connect
from tests.commands import Outcome, Tuner, in_process, run

LOOP = {
    "name": "study",
    "loop": "tests.loops:descent",
    "space": {"x": {"type": "float", "low": 0, "high": 1}},
    "objective": "val_loss",
    "trials": 2,
    "epochs": 2,
}
MODEL = {
    "name": "study",
    "model": "tests.mistakes:good",
    "data": "tests.mistakes:rows",
    "trials": 2,
    "epochs": 1,
}
UNITS = {"units": {"type": "int", "low": 2, "high": 4}}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A TUNER_HOME that does not exist yet."""
    return tmp_path / "home"


@pytest.fixture
def tuner(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Tuner:
    """The command, with the test's folder as the current one."""
    monkeypatch.chdir(tmp_path)
    return in_process(monkeypatch, capfd, home)


def study_file(tmp_path: Path, form: dict[str, Any], **changes: Any) -> str:
    path = tmp_path / "study.json"
    path.write_text(json.dumps({key: value for key, value in (form | changes).items() if value is not None}))
    return str(path)


def refused(outcome: Outcome, *words: str, code: int = 2) -> None:
    """The command said why in sentences that hold `words`, and printed no result."""
    assert outcome.code == code, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    for word in words:
        assert word in outcome.err, outcome.err


# --- the command line -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["stduy", "list"], ["'stduy'", "`study`"]),
        (["promote", "digits"], ["'promote'", "`tuner model promote`"]),
        (["report", "digits"], ["`tuner study report`"]),
        (["status", "digits"], ["`tuner study show`"]),
        (["study", "promote", "digits"], ["`tuner model promote`"]),
        (["study", "run", "study.yaml"], ["`tuner run`"]),
        (["model", "digits"], ["There are: promote, list, rollback, alias."]),
        (["model", "promote", "digits", "--alias", "a/b"], ["tuner: The alias name 'a/b'"]),
        (["\x1b[2J"], ["'\\x1b[2J'"]),
        (["study", "lsit"], ["'lsit'", "`list`"]),
        (["trial", "explian", "digits", "3"], ["`explain`"]),
        (["model", "rolback", "digits"], ["`rollback`"]),
        (["db", "upgrad"], ["`upgrade`"]),
        (["run", "--promot", "x", "study.yaml"], ["--promot", "--promote"]),
        (["study", "list", "--output", "xml"], ["'xml'", "table", "json"]),
        (
            ["run", "--workers", "0", "study.yaml"],
            ["--workers", "'0' is no number of workers; expected a whole number from 1"],
        ),
        (["study", "wait", "digits", "--timeout", "nan"], ["'nan' is no number of seconds; expected a number from 0"]),
        (["model", "alias", "digits", "best"], ["'best' is no version number; expected a whole number from 1"]),
        (
            ["model", "promote", "digits", "--trial", "1.5"],
            ["'1.5' is no trial number; expected a whole number from 0"],
        ),
        (["trial", "show", "digits", "9" * 30], ["is no trial number"]),
        (["run", "--launcher", "rya", "study.yaml"], ["rya", "processes"]),
        (["run"], ["FILE"]),
        (
            ["trial", "show", "digits", "first"],
            ["NUMBER", "'first' is no trial number; expected a whole number from 0, for example 17."],
        ),
        (["completion", "tcsh"], ["'tcsh'", "fish"]),
        (["run", "nowhere.yaml"], ["There is no study file 'nowhere.yaml'"]),
        (["run", "study.toml"], ["study.toml", ".yaml"]),
        (["study", "submit", "nowhere.yaml"], ["There is no study file 'nowhere.yaml'"]),
    ],
)
def test_a_command_that_cannot_be_meant(tuner: Tuner, home: Path, arguments: list[str], words: list[str]) -> None:
    outcome = tuner(*arguments)
    refused(outcome, *words)
    assert all(line.isprintable() for line in outcome.err.splitlines())
    assert not home.exists()


def test_every_mistake_of_a_file_at_once_and_no_folder(tuner: Tuner, home: Path, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(
        "name: a/b\nmax_trails: 3\nloop: tests.loops:descent\nspace: {x: {type: flot}}\n"
    )
    for command in (["run"], ["study", "submit"]):
        outcome = tuner(*command, "study.yaml")
        refused(outcome, "study.yaml, line 1", "study.yaml, line 2: `max_trails`", "`trials`", "'flot'", "`float`")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.yaml"]


@pytest.mark.parametrize("name", ["12", "a/b", "..", "", "ｗｉｄｅ", "x" * 129])
def test_a_model_name_that_cannot_be_a_folder(tuner: Tuner, home: Path, tmp_path: Path, name: str) -> None:
    refused(tuner("run", study_file(tmp_path, LOOP), "--promote", name), "model name")
    assert not home.exists()


@pytest.mark.parametrize(
    ("variable", "value", "word"),
    [
        ("TUNER_LAUNCHER", "rya", "`ray`"),
        ("TUNER_WORKERS", "none", "whole number"),
        ("TUNER_DATABASE", "mysql://me:hunter2@host/x", "mysql://me:***@host/x"),
        ("TUNER_DATABASE", "ockham.db", "sqlite:///"),
        ("TUNER_DATABASE", "sqlite:////nowhere/at/all/x.db", "'/nowhere/at/all'"),
        ("TUNER_HOME", "study.json", "a file; expected a folder"),
    ],
)
def test_a_variable_that_cannot_be_used(
    tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, word: str
) -> None:
    file = study_file(tmp_path, LOOP)
    monkeypatch.setenv(variable, value)
    for arguments in (["run", file], ["study", "list"], ["study", "submit", file]):
        outcome = tuner(*arguments)
        refused(outcome, word)
        assert "hunter2" not in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


# --- the database -----------------------------------------------------------------------------------------------------


def test_looking_into_a_database_that_is_not_there_makes_none(tuner: Tuner, home: Path) -> None:
    for arguments in (
        ["study", "show", "x"],
        ["study", "wait", "x"],
        ["study", "stop", "x"],
        ["study", "set", "x", "weight=2"],
        ["study", "delete", "x", "--yes"],
        ["trial", "cancel", "x", "0"],
        ["trial", "list", "x"],
        ["trial", "show", "x", "0"],
        ["trial", "explain", "x", "0"],
        ["model", "promote", "x"],
        ["model", "rollback", "x"],
        ["model", "list", "x"],
    ):
        refused(tuner(*arguments), "There is no database at", "tuner run STUDY.yaml", code=1)
    assert tuner("study", "list", "--output", "json").out == "[]\n"
    assert tuner("model", "list").out.startswith("No model was promoted yet.")
    assert not home.exists()


def test_names_that_nobody_has(tuner: Tuner, tmp_path: Path) -> None:
    assert tuner("run", study_file(tmp_path, LOOP, name="digits-one")).code == 0
    for arguments in (["study", "show"], ["study", "stop"], ["study", "wait"], ["trial", "list"], ["model", "promote"]):
        refused(tuner(*arguments, "digit-one"), "no study named 'digit-one'", "'digits-one'")
    assert "Export" not in tuner("model", "promote", "digit-one").err
    refused(tuner("trial", "show", "digits-one", "7"), "has no trial 7", "0 to 1")
    refused(tuner("model", "list", "digits"), "no model named 'digits'")
    refused(tuner("model", "rollback", "digits"), "no model named 'digits'")


def test_a_database_of_another_version(tuner: Tuner, home: Path, tmp_path: Path) -> None:
    file = study_file(tmp_path, LOOP)
    assert tuner("db", "upgrade").code == 0
    _execute(home, "UPDATE ockham_version SET version_num = '9999'")
    for arguments in (["study", "list"], ["run", file], ["db", "upgrade"]):
        refused(tuner(*arguments), "9999", "newer", "tuner db upgrade", code=1)
    _execute(home, "DROP TABLE ockham_version")
    refused(tuner("study", "list"), "tuner db upgrade", code=1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("json_set(definition, '$.quorum', 3)", "the field 'quorum', which this version of Ockham does not know"),
        (
            "json_set(definition, '$.space.parameters.x.type', 'simplex')",
            "another version of Ockham may have written it",
        ),
        ("json_remove(definition, '$.name')", "another version of Ockham may have written it"),
    ],
)
def test_a_study_of_another_version_is_shown_and_ended(
    tuner: Tuner, home: Path, tmp_path: Path, change: str, why: str
) -> None:
    assert tuner("run", study_file(tmp_path, LOOP)).code == 0
    _execute(home, f"UPDATE study SET definition = {change}, state = 'active'")
    shown = tuner("study", "show", "study")
    assert shown.code == 0, shown
    assert "study (active)" in shown.out and "2 complete" in shown.out and "best val_loss" in shown.out
    assert why in shown.out
    for looking in (["study", "list"], ["trial", "list", "study"], ["trial", "show", "study", "1"], ["top", "--once"]):
        assert tuner(*looking).code == 0
    refused(tuner("study", "report", "study"), why)
    asked = tuner("study", "cancel", "study")
    assert (asked.code, asked.out) == (0, "Study 'study' is cancelling: its running trials end now.\n")
    assert tuner("study", "delete", "study", "--yes").code == 0


def test_a_file_that_is_no_database(tuner: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("not a database, but long enough to be asked for its header\n" * 20)
    monkeypatch.setenv("TUNER_DATABASE", f"sqlite:///{tmp_path}/notes.txt")
    refused(tuner("study", "list"), "is not a SQLite database")


def test_a_database_that_cannot_be_reached_keeps_its_password(tuner: Tuner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_DATABASE", "postgresql://me:hunter2@127.0.0.1:1/ockham?application_name=x")
    for arguments in (["study", "list"], ["db", "upgrade"]):
        outcome = tuner(*arguments)
        refused(outcome, "127.0.0.1", "refused", code=1)
        assert "hunter2" not in outcome.err
    doctor = tuner("doctor")
    assert doctor.code == 1
    assert "wrong  database" in doctor.out
    assert "hunter2" not in doctor.out + doctor.err


def test_another_study_of_the_same_name(tuner: Tuner, tmp_path: Path, home: Path) -> None:
    assert tuner("run", study_file(tmp_path, LOOP)).code == 0
    refused(tuner("run", study_file(tmp_path, LOOP, trials=3)), "`trials` is 2 in the study 'study', and 3 was given")
    assert _rows(home, "study") == 1


# --- what only a worker can know --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"loop": "tests.loop:descent"}, ["tests.loop", "tests.loops"]),
        ({"loop": "tests.loops:decent"}, ["decent", "descent"]),
        ({"loop": "tests.mistakes:NOT_CALLABLE"}, ["int", "train(run)"]),
        ({"loop": "tests.mistakes:loop_without_a_parameter"}, ["()", "one argument"]),
        ({"gpus_per_trial": 64}, ["GPU"]),
        ({"cpus_per_trial": 4000}, ["CPU"]),
    ],
)
def test_a_loop_that_cannot_run(
    tuner: Tuner, home: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    refused(tuner("run", study_file(tmp_path, LOOP, **changes)), *words)
    assert not home.exists()


def test_the_real_command_refuses_alike(home: Path, tmp_path: Path) -> None:
    refused(run(home, "run", study_file(tmp_path, LOOP, loop="tests.loops:decent")), "descent")
    refused(run(home, "run", str(tmp_path / "nowhere.yaml")), "nowhere.yaml")
    refused(run(home, "stduy"), "`study`")
    assert not home.exists()


@pytest.mark.tensorflow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        pytest.param({"objective": "val_acuracy"}, ["'val_acuracy'", "it logs", "val_loss"], id="objective"),
        pytest.param({"model": "tests.mistake:good"}, ["tests.mistake", "tests.mistakes"], id="module"),
        pytest.param({"model": "tests.mistakes:godo"}, ["godo", "good"], id="attribute"),
        pytest.param({"model": "tests.mistakes:returns_nothing"}, ["None"], id="returns None"),
        pytest.param({"model": "tests.mistakes:never_compiled"}, ["compile"], id="not compiled"),
        pytest.param({"model": "tests.mistakes:with_a_lambda_layer"}, ["Lambda layer"], id="Lambda layer"),
        pytest.param({"model": "tests.mistakes:for_other_inputs"}, ["value 7", "(None, 3)"], id="shape"),
        pytest.param({"model": "tests.mistakes:raises"}, ["no layer for"], id="raises"),
        pytest.param({"model": "tests.mistakes:without_a_parameter"}, ["without_a_parameter"], id="arguments"),
        pytest.param({"space": UNITS | {"unit": UNITS["units"]}}, ["unit,", "never asks for", "units"], id="unknown"),
        pytest.param({"data": "tests.mistakes:nan_labels"}, ["NaN"], id="NaN labels"),
        pytest.param({"data": "tests.mistakes:no_rows"}, ["row"], id="no rows"),
        pytest.param({"data": "tests.mistakes:no_validation_rows"}, ["validation"], id="no validation"),
        pytest.param({"data": "tests.mistakes:other_lengths"}, ["48", "47"], id="lengths"),
        pytest.param({"data": "tests.mistakes:not_arrays"}, ["not_arrays"], id="not arrays"),
        pytest.param({"data": "tests.mistakes:nothing"}, ["nothing"], id="no such data"),
        pytest.param({"data": {"path": "empty.csv", "target": "y"}}, ["empty"], id="empty table"),
        pytest.param({"data": {"path": "table.csv", "target": "z"}}, ["'z'"], id="no such column"),
    ],
)
def test_a_model_that_cannot_be_tuned(
    tuner: Tuner, home: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    (tmp_path / "empty.csv").touch()
    (tmp_path / "table.csv").write_text("x,y\n" + "\n".join(f"{n},{n % 7}" for n in range(40)))
    refused(tuner("run", study_file(tmp_path, MODEL, **changes)), *words)
    assert not home.exists()


def test_a_study_without_a_finite_result_is_not_promoted(tuner: Tuner, tmp_path: Path) -> None:
    form = LOOP | {
        "loop": "tests.loops:sometimes_bad",
        "space": {"kind": {"type": "choice", "options": ["nan", "inf"]}},
    }
    file = study_file(tmp_path, form)
    assert tuner("run", file).code in (0, 1)
    refused(tuner("model", "promote", "study"), "no completed trial with a finite 'val_loss'")
    assert not (tmp_path / "home" / "models").exists()


def _execute(home: Path, statement: str) -> None:
    file = sqlite3.connect(home / "ockham.db")
    with file:
        file.execute(statement)
    file.close()


def _rows(home: Path, table: str) -> int:
    with connect(f"sqlite:///{home / 'ockham.db'}") as database, database.read() as s:
        return len(s.connection().exec_driver_sql(f"SELECT 1 FROM {table}").all())
