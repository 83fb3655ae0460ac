"""What a service tells about itself: `tuner top`, and the metrics that Prometheus reads."""

from __future__ import annotations

import json
import re
import socket
import urllib.request
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from db import overview, studies
from db.engine import Database, connect
from db.schema import prepare
from tests import rows
from tests.commands import Outcome, run
from tuner.errors import TunerError
from tuner.metrics import Metrics

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "docker" / "monitoring" / "dashboard.json"


def fill(database: Database) -> None:
    """A study at work, with a trial of each state, one that is over, one nobody runs, and one without a worker."""
    form = {"objective": "val_loss", "trials": 9}
    with database.write() as s:
        study = rows.study(s, "digits", **form)
        assert studies.claim(s, study, "machine:17:ab", 60) == 1
        for value in (0.5, 0.25):
            assert rows.end(s, rows.held(s, study), "complete", value=value, best_epoch=1)
        assert rows.end(s, rows.held(s, study), "pruned", value=0.125)
        assert rows.end(s, rows.held(s, study), "failed", cause="oom", message="Out of memory.")
        rows.held(s, study)
        rows.trial(s, study)
        over = rows.study(s, "done", **form)
        assert rows.end(s, rows.held(s, over), "failed", cause="oom", message="Long ago.")
        assert studies.finish(s, over, "finished", "All trials are done.")
        rows.study(s, "waiting", **form, direction="maximize")
        short = rows.study(s, "short", **form, weight=3.0, priority=-1)
        assert studies.claim(s, short, "machine:17:ab", 60) == 1
        studies.explain_waiting(s, short, "machine:17:ab", 1, "digits comes first (priority 0)")


def test_only_what_has_not_ended_is_told(database: Database) -> None:
    fill(database)
    with database.read() as s:
        digits, waiting, short = overview.live_studies(s)
        [running] = overview.running_trials(s)
        [failed] = overview.latest_failures(s, 5)
    counts = {"complete": 2, "pruned": 1, "failed": 1, "running": 1, "queued": 1}
    assert (digits.name, digits.coordinator, digits.planned, digits.counts) == ("digits", "machine:17:ab", 9, counts)
    assert (digits.failures, digits.best) == ({"oom": 1}, (1, 0.25))
    assert (waiting.coordinator, waiting.counts, waiting.best) == (None, {}, None)
    assert (short.weight, short.priority, short.waits) == (3.0, -1, "digits comes first (priority 0)")
    assert (digits.weight, digits.priority, digits.waits) == (1.0, 0, None)
    assert (running.study, running.number, running.attempt, running.epoch) == ("digits", 4, 1, 0)
    assert 0 <= running.seconds < 60
    assert 0 <= running.silent < 60
    assert (failed.study, failed.number, failed.cause, failed.message) == ("digits", 3, "oom", "Out of memory.")


def test_what_is_told_of_repeats_is_their_mean_and_of_a_coordinator_that_is_gone_nothing(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s, "digits", objective="val_loss", trials=9, repeats=2)
        assert studies.claim(s, study, "machine:17:ab", 60) == 1
        for value in (0.125, 0.75, 0.5, 0.25, 0.0):  # the luckiest seeds are those of worse configurations
            assert rows.end(s, rows.held(s, study), "complete", value=value, best_epoch=1)
        [told] = overview.live_studies(s)
        assert (told.best, told.coordinator) == ((3, 0.375), "machine:17:ab")
        studies.renew(s, study, "machine:17:ab", 1, -1.0, 0.0)
    with database.read() as s:
        assert overview.live_studies(s)[0].coordinator is None


def test_metrics_are_those_of_the_rows(database: Database) -> None:
    metrics = Metrics(database)
    fill(database)
    with metrics.step():
        pass
    with pytest.raises(ZeroDivisionError), metrics.step():
        _ = 1 / 0
    lines = generate_latest(metrics.registry).decode().splitlines()
    for line in (
        "ockham_database_up 1.0",
        'ockham_studies{state="active"} 3.0',
        'ockham_study_served{study="digits"} 1.0',
        'ockham_study_served{study="waiting"} 0.0',
        'ockham_study_waits{study="digits"} 0.0',
        'ockham_study_waits{study="short"} 1.0',
        'ockham_trials{state="complete",study="digits"} 2.0',
        'ockham_trials_planned{study="digits"} 9.0',
        'ockham_trials_failed{cause="oom",study="digits"} 1.0',
        'ockham_best_objective{objective="val_loss",study="digits"} 0.25',
        "ockham_step_seconds_count 2.0",
        'ockham_step_errors_total{kind="ZeroDivisionError"} 1.0',
    ):
        assert line in lines
    assert not any("done" in line for line in lines)


def test_a_database_that_is_gone_is_told() -> None:
    database = connect("postgresql://tuner@127.0.0.1:1/nothing")
    lines = generate_latest(Metrics(database).registry).decode().splitlines()
    assert "ockham_database_up 0.0" in lines
    assert not any(line.startswith("ockham_trials{") for line in lines)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with the studies of `fill`."""
    with connect(f"sqlite:///{tmp_path / 'ockham.db'}") as database:
        prepare(database)
        fill(database)
    return tmp_path


def test_metrics_are_served_where_they_were_asked_for(home: Path) -> None:
    with connect(f"sqlite:///{home / 'ockham.db'}") as database, socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(TunerError, match=rf"{port}.*TUNER_METRICS"), Metrics(database).served(str(port)):
            pass
        taken.close()
        url = f"http://127.0.0.1:{port}/metrics"
        with Metrics(database).served(f"127.0.0.1:{port}"), urllib.request.urlopen(url, timeout=60) as answer:
            assert b'ockham_trials{state="complete",study="digits"} 2.0' in answer.read()


def test_the_dashboard_asks_for_metrics_that_exist(home: Path) -> None:
    with connect(f"sqlite:///{home / 'ockham.db'}") as database:
        metrics = Metrics(database)
        with pytest.raises(ZeroDivisionError), metrics.step():
            _ = 1 / 0
        told = generate_latest(metrics.registry).decode()
    names = {re.split(r"[{ ]", line)[0] for line in told.splitlines() if not line.startswith("#")}
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]
    asked = {name for panel in panels for target in panel["targets"] for name in re.findall(r"\w+", target["expr"])}
    assert len(panels) >= 6
    assert {name for name in asked if name.startswith(("ockham_", "process_"))} <= names


def test_top_prints_a_page_where_there_is_no_terminal(home: Path) -> None:
    shown: Outcome = run(home, "top")
    assert shown.code == 0, shown.err
    first, second, third = shown.out.split("\n\n")
    assert re.search(r"digits +active +4 +9 +1 +1 +1 +1 .*0.25 \(trial 1\) +process 17 on machine", first)
    assert re.search(r"waiting +active +0 +9 .* nobody", first)
    assert re.search(r"short +active .* digits comes first \(priority 0\)", first)
    assert re.search(r"digits +4 +1 +0 ", second)
    assert re.search(r"digits +3 +oom +Out of memory\.", third)
    assert "done" not in third
    form = json.loads(run(home, "top", "--output", "json").out)
    assert [study["name"] for study in form["studies"]] == ["digits", "waiting", "short"]
    assert form["running"][0]["number"] == 4


def test_top_without_anything_to_show_says_what_to_type(tmp_path: Path) -> None:
    with connect(f"sqlite:///{tmp_path / 'ockham.db'}") as database:
        prepare(database)
    shown = run(tmp_path, "top")
    assert (shown.code, shown.out) == (0, "No study is waiting or running. Start one: tuner run STUDY.yaml\n")


def test_every_running_trial_of_the_database_is_read_back(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s, objective="val_loss", trials=3)
        held = [rows.held(s, study) for _ in range(3)]
        assert rows.report(s, held[1], 1, {"val_loss": 1.0}, 1.0, 0.1)
        assert rows.requeue(s, held[2], cause="oom")
        assert rows.lease(s, held[2].trial) == 2
    with database.read() as s:
        assert [(item.number, item.attempt, item.epoch) for item in overview.running_trials(s)] == [
            (0, 1, 0),
            (1, 1, 1),
            (2, 2, 0),
        ]
