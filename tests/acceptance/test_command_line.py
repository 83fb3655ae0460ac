"""The command line as a person uses it: run, interrupt, resume, look, stop. Real processes, real signals."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from db.engine import connect
from tests import promotions
from tests.commands import ROOT, Tuner, ended, environment, in_process, run, said, started
from tests.invariants import check_invariants
from tuner.promoting import promotion

STUDY = """
name: {name}
loop: tests.loops:{loop}
space:
  x: {{type: float, low: 0, high: 1}}
objective: val_loss
trials: {trials}
epochs: 20
pruner: none
checkpoint_seconds: 0.1
"""


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def tuner(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Tuner:
    return in_process(monkeypatch, capfd, home)


def study_file(tmp_path: Path, loop: str = "descent", trials: int = 4, name: str = "study") -> str:
    path = tmp_path / f"a {name}.yaml"  # a path that has to be quoted
    path.write_text(STUDY.format(name=name, loop=loop, trials=trials))
    return str(path)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.05)


def reports(home: Path) -> int:
    """How many epochs are stored."""
    if not (home / "ockham.db").exists():
        return 0
    with closing(sqlite3.connect(home / "ockham.db", timeout=10)) as file:
        try:
            return int(file.execute("SELECT count(*) FROM report").fetchone()[0])
        except sqlite3.OperationalError:  # the tables are being made
            return 0


def test_run_look_and_run_again(tuner: Tuner, tmp_path: Path) -> None:
    file = study_file(tmp_path)
    first = tuner("run", file)
    assert first.code == 0
    assert first.out.startswith("study            study (finished)")
    assert "trials           4 complete" in first.out
    assert "\ntraining         seen=20\nvalidation       loss=0." in first.out
    assert "4 of 4 trials" in first.err or "study: starting workers" in first.err
    again = tuner("run", file, "--no-progress")
    assert (again.code, again.out) == (0, first.out)
    assert again.err == (
        "Study 'study' is finished already: nothing was run. This is its result. "
        "To let it go on: tuner study set study trials=N\n"
    )
    assert tuner("study", "list").out.splitlines()[1].split()[:3] == ["study", "finished", "4"]
    assert len(tuner("trial", "list", "study", "--state", "complete").out.splitlines()) == 5
    assert tuner("trial", "list", "study", "--state", "failed").out == "Study 'study' has no trial that is failed.\n"
    values = [trial["value"] for trial in json.loads(tuner("trial", "list", "study", "-o", "json").out)]
    best = json.loads(tuner("trial", "list", "study", "--best", "3", "-o", "json").out)
    assert [trial["value"] for trial in best] == sorted(values)[:3]
    refused = tuner("trial", "list", "study", "--best", "3", "--state", "pruned")
    assert (refused.code, refused.out) == (2, "")
    shown = tuner("trial", "show", "study", "2")
    assert shown.out.startswith("trial       2 (complete)")
    assert "\ntrained    alone: its code owns its training loop\n" in shown.out
    assert len(shown.out.partition("\n\n")[2].splitlines()) == 1 + 20
    assert "Trial 2 is complete with" in tuner("trial", "explain", "study", "2").out


def test_a_finished_study_is_given_more_trials(tuner: Tuner, home: Path, tmp_path: Path) -> None:
    file, nobody = study_file(tmp_path), "No coordinator runs it now: start one with `tuner serve`"
    assert tuner("run", file, "--no-progress").code == 0
    for refused in (("set", "study", "weight=2"), ("resume", "study")):
        told = tuner("study", *refused)
        assert (told.code, told.out) == (2, "")
        assert "finished and has nothing left to do. The study's limit of 4 trials is reached." in told.err
        assert told.err.endswith("tuner study set study trials=VALUE\n")
    larger = study_file(tmp_path, trials=6)
    assert (
        "\ntuner: Or have that one go on with these limits: tuner study set study trials=6\n"
        in tuner("run", larger).err
    )
    again = tuner("study", "set", "study", "trials=6")
    assert (again.code, again.out) == (0, "Study 'study' has trials 6. It was finished, and is active again.\n")
    assert again.err.startswith(nobody)
    with started(home, "serve") as serving:
        assert "4 of its 6 trials have begun" in "".join(said(serving, "Study study is finished"))
        assert tuner("study", "set", "study", "trials=8").err == "", "it is served"
        said(serving, "Study study is finished")
    shown = tuner("run", study_file(tmp_path, trials=8), "--no-progress")
    assert "trials           8 complete" in shown.out and "is finished already: nothing was run" in shown.err


def test_a_run_promotes_a_trial_once_and_tells_the_server_again(
    tuner: Tuner, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(promotion, "export_model", promotions.fake_export)
    monkeypatch.setattr(promotion, "verify_model", promotions.fake_verify)
    command = ("run", study_file(tmp_path), "--promote", "model", "--no-progress")
    first = tuner(*command)
    assert first.code == 0 and "model version 1, alias champion" in first.out
    config = home / "models" / "models.config"
    told = config.read_text()
    config.unlink()  # as if the first had been killed between the alias and the file
    again = tuner(*command)
    assert (again.code, again.out) == (0, first.out)
    assert "'champion' of model 'model' points at version 1, which is trial " in again.err
    assert again.err.endswith("of this study: nothing was promoted.\n")
    assert config.read_text() == told
    assert len(json.loads(tuner("model", "list", "-o", "json").out)) == 1
    asked = tuner("model", "promote", "study", "--name", "model")  # asked for by itself, it makes another one
    assert asked.code == 0 and "model version 2, alias champion" in asked.out
    assert "before      version 1, on the same test part: loss=0.5\n" in asked.out
    assert "before" not in tuner("model", "promote", "study", "--name", "model", "--alias", "canary").out


def test_what_a_person_is_told_of_repeats_and_of_unseen_rows(tuner: Tuner, tmp_path: Path) -> None:
    file = Path(study_file(tmp_path, "tested", trials=6))
    file.write_text(file.read_text() + "repeats: 3\n")
    shown = tuner("run", str(file)).out
    assert re.search(r"\nvalidation +loss=\S+\ntest +loss=\S+\n", shown)
    assert "mean and standard error of trials" in shown and "± 0" in shown
    assert "on the test rows that had no part in it. Expect the latter." in shown
    assert tuner("study", "score", "study").out.startswith("val_loss is ")
    found = json.loads(tuner("study", "show", "study", "-o", "json").out)
    assert found["best_configuration"]["standard_error"] == 0.0
    assert found["final"] == json.loads(tuner("study", "score", "study", "-o", "json").out)
    tuner("run", study_file(tmp_path, name="unseen"))
    assert "none: its loop reported no metric such as test_loss" in tuner("study", "show", "unseen").out
    refused = tuner("study", "score", "unseen")
    assert (refused.code, refused.out) == (2, "")


def test_pruned_trials_do_not_look_like_failures(tuner: Tuner, tmp_path: Path) -> None:
    file = Path(study_file(tmp_path, trials=8))
    file.write_text(file.read_text().replace("pruner: none", "pruner: asha"))
    shown = tuner("run", str(file)).out
    pruned = int(re.search(r"\ntrials .*\b(\d+) pruned\n", shown)[1])  # type: ignore[index]
    hint = "pruned because others did better, as `tuner trial explain study N` tells; with `pruner: none` in the study"
    assert f"{pruned} trials {hint}" in " ".join(shown.split())
    file = Path(study_file(tmp_path, name="all"))
    file.write_text(file.read_text() + "direction: maximize\npatience: 4\n")  # so the first epoch is the best
    assert hint not in tuner("run", str(file)).out
    explained = tuner("trial", "explain", "all", "0").out
    assert "at epoch 1, after 5 epochs.\nIt ended by itself: 4 epochs without a better one" in explained


def test_json_is_all_there_is_on_stdout(home: Path, tmp_path: Path, tuner: Tuner) -> None:
    (tmp_path / "talks.py").write_text(
        "def train(run):\n"
        "    for epoch in range(run.epoch, run.epochs):\n"
        "        print('a word of the user', flush=True)\n"
        "        run.report({'val_loss': float('nan') if run.trial == 1 else run.params['x']})\n"
    )
    path = tmp_path / "study.yaml"
    path.write_text(STUDY.format(name="study", loop="descent", trials=3).replace("tests.loops:descent", "talks:train"))
    outcome = run(home, "run", str(path), "--output", "json", "--launcher", "inline")
    assert outcome.code == 0, outcome
    result = json.loads(outcome.out)
    assert (result["state"], result["counts"], result["promoted"]) == ("finished", {"complete": 2, "failed": 1}, None)
    assert "a word of the user" in outcome.err
    for arguments in (["study", "list"], ["study", "show", "study"], ["trial", "list", "study"], ["model", "list"]):
        json.loads(tuner(*arguments, "-o", "json").out)
    story = json.loads(tuner("trial", "show", "study", "1", "-o", "json").out)
    assert story["reports"][0]["metrics"]["val_loss"] is None
    assert story["result"]["cause"] == "non_finite"
    assert story["result"]["trained"] == story["attempts"][0]["trained"] == "alone: its code owns its training loop"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_says_how_to_resume_and_resumes(
    home: Path, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    file = study_file(tmp_path, "slow_descent")
    with started(home, "run", file) as process:
        until(lambda: reports(home) >= 8)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(number)
        interrupted = ended(process, 60)
    assert interrupted.code == code, interrupted
    assert "Traceback" not in interrupted.err
    assert interrupted.out == ""
    assert "Interrupted. 0 finished trials are kept; 2 trials will go on from the last checkpoint." in interrupted.err
    assert interrupted.err.endswith(f"Resume with:\n  tuner run '{file}'\n")
    assert workers
    assert not psutil.wait_procs(workers, timeout=60)[1]
    assert "coordinator  none; `tuner serve`" in run(home, "study", "show", "study").out
    resumed = run(home, "run", file)
    assert resumed.code == 0, resumed
    assert "4 complete" in resumed.out
    assert "resumed from epoch" in run(home, "trial", "explain", "study", "0").out
    with connect(f"sqlite:///{home}/ockham.db") as database:
        check_invariants(database, "study", str(home / "artifacts"))


def test_a_second_interrupt_ends_the_run_at_once(home: Path, tmp_path: Path) -> None:
    """The second signal arrives while the first one is being answered; either way nothing is left and it resumes."""
    file = study_file(tmp_path, "slow_descent", trials=2)
    with started(home, "run", file) as process:
        until(lambda: reports(home) >= 2)
        workers = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        assert ended(process, 60).code in (130, -signal.SIGINT)
    assert not psutil.wait_procs(workers, timeout=60)[1]
    assert run(home, "run", file).code == 0


def test_two_runs_of_one_study_and_a_stop(home: Path, tmp_path: Path) -> None:
    file = study_file(tmp_path, "slow_descent", trials=40)
    with started(home, "run", file) as first:
        until(lambda: reports(home) >= 2)
        second = run(home, "run", file)
        assert second.code == 1
        assert f"Study 'study' is being run by process {first.pid} on " in second.err
        assert "tuner study wait study" in second.err
        with started(home, "study", "wait", "study") as waiting:
            stop = run(home, "study", "stop", "study")
            assert stop.out.startswith("Study 'study' is stopping: no more trials start")
            outcome, waited = ended(first), ended(waiting)
    assert (outcome.code, waited.code) == (0, 0)
    assert waited.out == outcome.out
    assert outcome.out.startswith("study            study (stopped)")
    assert "failed" not in outcome.out
    assert "is stopped already" in run(home, "study", "stop", "study").out


def test_verbs_from_another_process_while_a_study_runs(home: Path, tmp_path: Path, tuner: Tuner) -> None:
    def counts() -> dict[str, int]:
        return dict(json.loads(tuner("study", "show", "study", "-o", "json").out)["counts"])

    def state() -> str:
        return str(json.loads(tuner("study", "show", "study", "-o", "json").out)["state"])

    file = Path(study_file(tmp_path, "slow_descent", trials=40))
    file.write_text(file.read_text().replace("epochs: 20", "epochs: 1000"))
    with started(home, "run", str(file)) as running:
        until(lambda: reports(home) >= 2)
        paused = tuner("study", "pause", "study")
        assert paused.out.startswith("Study 'study' is paused: its running trials are saved")
        until(lambda: counts() == {"queued": 2})
        assert tuner("study", "pause", "study").out == "Study 'study' is paused already; nothing was changed.\n"
        changed = tuner("study", "set", "study", "trials=30", "weight=2.5", "max_seconds=null")
        assert changed.out == "Study 'study' has trials 30, weight 2.5, max_seconds null, max_failures 7.\n"
        assert "weight 2.5, priority 0\n" in tuner("study", "show", "study").out
        wrong = tuner("study", "set", "study", "trails=30")
        assert (wrong.code, wrong.out) == (2, "")
        assert "`trails` is not a field. Did you mean `trials`?" in wrong.err
        assert tuner("trial", "cancel", "study", "1").out.startswith("Trial 1 of study 'study' is queued, and ends")
        until(lambda: counts().get("cancelled") == 1)
        assert "is cancelled already; nothing was changed." in tuner("trial", "cancel", "study", "1").out
        assert tuner("study", "resume", "study").out.startswith("Study 'study' is active")
        until(lambda: counts().get("running", 0) >= 1)
        refused = tuner("study", "delete", "study", "--yes")
        assert refused.code == 2
        assert "End it first: tuner study cancel study" in refused.err
        assert tuner("study", "cancel", "study").out.startswith("Study 'study' is cancelling: its running trials end")
        assert ended(running).code == 0
    assert state() == "cancelled"
    refused = tuner("study", "pause", "study")
    assert (refused.code, "is cancelled already: it cannot be paused" in refused.err) == (2, True)
    left = tuner("study", "gc", "--dry-run").out  # what workers saved after their last answer
    assert tuner("study", "gc").out == left
    assert tuner("study", "gc").out == ""
    assert tuner("study", "delete", "study", "--yes").out.startswith("Study 'study' is deleted, with ")
    assert tuner("study", "list").out.startswith("There is no study yet.")


def test_waiting_for_a_study_that_nobody_runs_says_so(home: Path, tmp_path: Path, tuner: Tuner) -> None:
    submitted = run(home, "study", "submit", study_file(tmp_path))
    assert submitted.code == 0, submitted
    assert submitted.out == "Study 'study' is active. Watch it: tuner study wait study\n"
    assert "No coordinator runs it now" in submitted.err
    waited = tuner("study", "wait", "study", "--timeout", "0")
    assert waited.code == 1
    assert "study: active, no trial yet" in waited.err
    assert "still active after 0 s. No coordinator runs it now: start one with `tuner serve`" in waited.err
    assert "coordinator  none; `tuner serve`" in tuner("study", "show", "study").out
    assert tuner("run", study_file(tmp_path)).code == 0


def test_a_coordinator_serves_what_was_submitted(home: Path, tmp_path: Path) -> None:
    assert run(home, "study", "submit", study_file(tmp_path)).code == 0
    with started(home, "serve") as daemon:
        waited = run(home, "study", "wait", "study")
        assert waited.code == 0, waited
        assert "4 complete" in waited.out
        daemon.send_signal(signal.SIGTERM)
        served = ended(daemon, 15)
    assert served.code == 0, served
    assert served.out == ""
    assert "Asked to end" in served.err
    names = {line.split(" ")[3] for line in served.err.splitlines()}
    assert names == {"tuner.coordinator:", "tuner.service:"}, "libraries are quiet"
    assert "Study study is finished" in served.err


def test_a_failed_study_is_exit_code_1(tuner: Tuner, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    form = STUDY.format(name="study", loop="sometimes_bad", trials=8).replace("type: float, low: 0, high: 1", "CHOICE")
    path.write_text(
        form.replace("x: {CHOICE}", "kind: {type: choice, options: [raises, silent]}") + "max_failures: 2\n"
    )
    outcome = tuner("run", str(path))
    assert outcome.code == 1
    assert "tuner: Study 'study' failed:" in outcome.err
    assert "tuner trial list study" in outcome.err
    assert "user_error" in tuner("trial", "list", "study").out
    assert "Last lines of its log" in tuner("trial", "explain", "study", "0").out
    shown = tuner("study", "show", "study").out
    assert re.search(r"\nfailures +\d x .*; `tuner trial list study --state failed` lists them, `tuner trial ex", shown)


def test_on_a_terminal_there_is_one_live_line_and_prints_stand_above_it(home: Path, tmp_path: Path) -> None:
    screen = on_a_terminal(
        home, 60, "run", study_file(tmp_path, "slow_descent", name="a-name-of-some-length"), NO_COLOR="1"
    )
    lines = [line for line in screen.replace("\r", "\n").split("\n") if "done" in line]
    assert lines
    assert all(len(visible(line)) < 60 for line in lines), lines
    assert any("/4 done" in line for line in lines)
    assert "a-name-of-so" in screen
    assert "\x1b[3" not in screen  # no colour was asked for
    assert "study            a-name-of-some-length (finished)" in screen


def on_a_terminal(home: Path, columns: int, *arguments: str, **variables: str) -> str:
    """Everything that a terminal of this width receives from `tuner ARGUMENTS`."""
    import fcntl
    import struct
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "tuner", *arguments]
    variables = {"TERM": "xterm-256color", "LANG": "C.UTF-8", **variables}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment(home, **variables), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    received = b""
    try:
        while chunk := os.read(ours, 4096):
            received += chunk
    except OSError:  # the other side is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(10) == 0, received.decode()
    return received.decode()


def visible(line: str) -> str:
    """A line without its escape sequences."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line)


def test_help_and_version_come_quickly(home: Path) -> None:
    commands = [["--help"], ["--version"], ["study", "--help"], ["run", "--help"]]
    helps = [run(home, *arguments) for arguments in commands]
    assert [outcome.code for outcome in helps] == [0, 0, 0, 0]
    assert helps[1].out.startswith("Ockham 0.")
    assert re.search(r"  wait +Wait until the study is over, then show it\.\n", helps[2].out)
    assert "..." not in helps[2].out.partition("Commands:")[2]
    probe = "import sys, tuner.cli; print(*sorted(name for name in sys.modules if '.' not in name))"
    loaded = subprocess.run(
        [sys.executable, "-c", probe], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"sqlalchemy", "alembic", "rich", "numpy", "yaml", "tensorflow", "ray", "optuna"} & set(loaded)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tuner: Tuner, shell: str) -> None:
    outcome = tuner("completion", shell)
    assert outcome.code == 0
    assert "_TUNER_COMPLETE" in outcome.out


def test_completion_knows_the_commands_of_a_group(home: Path) -> None:
    words = {"COMP_WORDS": "tuner study ", "COMP_CWORD": "2", "_TUNER_COMPLETE": "bash_complete"}
    outcome = run(home, **words)
    looking = ("submit", "list", "show", "score", "simplest", "regularization", "report", "tensorboard", "wait")
    verbs = ("pause", "resume", "stop", "cancel", "set", "delete", "gc")
    assert outcome.out.split() == [f"plain,{name}" for name in looking + verbs]


def test_db_upgrade_makes_a_database_once(tuner: Tuner, home: Path) -> None:
    first, second = tuner("db", "upgrade"), tuner("db", "upgrade")
    assert (first.code, first.out) == (second.code, second.out)
    assert first.out.startswith(f"The schema of sqlite:///{home}/ockham.db is at version ")
    doctor = tuner("doctor", "--output", "json")
    found = {finding["what"]: finding for finding in json.loads(doctor.out)}
    assert found["database"]["ok"]
    assert found["ockham"]["found"].startswith("0.")
