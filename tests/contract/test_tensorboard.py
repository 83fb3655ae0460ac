"""What TensorBoard reads of a study, with its own readers, is what the study's rows say."""

from __future__ import annotations

import math
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import tuner
from db import studies, trials
from db.engine import Session
from search_spaces import Choice, Fixed, Float, Int, Lambda, Space
from tests import rows
from tests.commands import in_process
from tuner.configuration import Settings
from tuner.errors import InvalidInput
from tuner.reporting import tensorboard_logs
from tuner.reporting.explanations import trial_story
from tuner.study import Study

ROOT = Path(__file__).parents[2]
SPACE = Space(
    {
        "x": Float(0.0, 1.0),
        "l2": Lambda(1e-4, 1e-1, zero=0.5),
        "kind": Choice(["plain", None, 3, True]),
        "flag": Choice([True, False]),
        "size": Choice([32, 64]),
        "inner": Float(1e-3, 1.0, log=True),
        "fixed": Fixed("relu"),
    },
    {"inner": {"kind": ["plain"]}},
)

UNITS = Space({"units": Int(16, 256)})  # of the trials that `rows` makes


def ran(home: Path, name: str, **changes: Any) -> Study:
    """A study that was run to its end."""
    options: dict[str, Any] = {
        "loop": "tests.loops:classifier",
        "space": SPACE,
        "objective": "val_accuracy",
        "trials": 40,
        "epochs": 6,
        "sampler": "random",
        "pruner": "median",
        "max_failures": 40,
    }
    settings = Settings.load({}, home=home, launcher="inline", import_paths=str(ROOT))
    return tuner.create_study(name, settings=settings, **{**options, **changes}).run(progress=False)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Trials that are complete, pruned, and failed in both ways, with a lambda of zero and without `inner`."""
    study = ran(tmp_path_factory.mktemp("home"), "shown")
    found = Counter(trial.cause or trial.state for trial in study.trials)
    assert set(found) == {"complete", "pruned", "non_finite", "user_error"}
    assert any(trial.params["l2"] == 0 for trial in study.trials)
    assert any("inner" not in trial.params for trial in study.trials)
    return study


def scalars(folder: Path) -> dict[str, list[tuple[int, float, float]]]:
    """Step, value and wall time of a run's scalars, by tag."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = EventAccumulator(str(folder))
    run.Reload()
    return {tag: [(e.step, e.value, e.wall_time) for e in run.Scalars(tag)] for tag in run.Tags()["scalars"]}


def hparams(folder: Path) -> tuple[Any, list[Any]]:
    """The experiment and the lines of the HParams tab, as TensorBoard's own server finds them."""
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import api_pb2, get_experiment, list_session_groups
    from tensorboard.plugins.hparams.backend_context import Context

    runs = EventMultiplexer().AddRunsFromDirectory(str(folder))
    runs.Reload()
    backend = Context(TBContext(data_provider=MultiplexerDataProvider(runs, str(folder))))
    everything = api_pb2.ListSessionGroupsRequest(
        allowed_statuses=api_pb2.Status.values(),
        aggregation_type=api_pb2.AGGREGATION_AVG,
        start_index=0,
        slice_size=1000,
    )
    asked = RequestContext(), backend, ""
    experiment = get_experiment.Handler(*asked, api_pb2.GetExperimentRequest()).run()
    return experiment, list(list_session_groups.Handler(*asked, everything).run().session_groups)


def plain(values: Any) -> dict[str, Any]:
    return {name: getattr(value, value.WhichOneof("kind")) for name, value in values.items()}


@pytest.mark.tensorflow
def test_every_metric_of_every_epoch_is_drawn(study: Study, tmp_path: Path) -> None:
    folder = study.tensorboard(tmp_path / "logs")
    assert sorted(path.name for path in folder.glob("trial-*")) == sorted(f"trial-{t.number}" for t in study.trials)
    for trial in study.trials:
        reported = trial_story(study.database, "shown", trial.number).reports
        run = folder / f"trial-{trial.number}"
        if not reported:
            assert not (run / "train").exists()
            continue
        parts = scalars(run / "train"), scalars(run / "validation")
        names = ({"epoch_loss": "loss", "epoch_penalty": "penalty"},
                 {"epoch_loss": "val_loss", "epoch_accuracy": "val_accuracy"})  # fmt: skip
        for found, tags in zip(parts, names, strict=True):
            assert set(found) == set(tags)
            for tag, metric in tags.items():
                steps, values, times = zip(*found[tag], strict=True)
                assert steps == tuple(report.epoch for report in reported)
                expected = [report.metrics[metric] for report in reported]
                assert values == pytest.approx(expected, rel=1e-6, nan_ok=True)
                began, ended = span_of(study, trial.number)
                assert list(times) == sorted(times)
                assert began <= times[0]
                assert times[-1] == pytest.approx(ended, abs=1e-3)


def span_of(study: Study, number: int) -> tuple[float, float]:
    """When a trial's only attempt began and ended."""
    with study.database.read() as s:
        trial = trials.get(s, study_id(s, study.name), number)
        assert trial is not None
        [attempt] = trials.attempts(s, trial.id)
    assert attempt.ended_at is not None
    return attempt.started_at.timestamp(), attempt.ended_at.timestamp()


def study_id(s: Session, name: str) -> int:
    row = studies.find(s, name)
    assert row is not None
    return row.id


@pytest.mark.tensorflow
def test_the_hparams_tab_has_each_trial_with_its_value(study: Study, tmp_path: Path) -> None:
    experiment, groups = hparams(study.tensorboard(tmp_path / "logs"))
    from tensorboard.plugins.hparams import api_pb2

    infos = {info.name: info for info in experiment.hparam_infos}
    kinds = {name: api_pb2.DataType.Name(info.type).removeprefix("DATA_TYPE_") for name, info in infos.items()}
    numbers = dict.fromkeys(("x", "l2", "size", "inner"), "FLOAT64")
    assert kinds == {**numbers, "flag": "BOOL", "kind": "STRING", "fixed": "STRING"}
    assert (infos["l2"].domain_interval.min_value, infos["l2"].domain_interval.max_value) == (0.0, 0.1)
    assert list(infos["kind"].domain_discrete) == ["plain", "None", "3", "True"]
    assert [name for name, info in infos.items() if not info.differs] == ["fixed"]
    [metric] = experiment.metric_infos
    assert (metric.name.group, metric.name.tag, metric.display_name) == ("", "best_val_accuracy", "val_accuracy")
    shown = {group.name: group for group in groups}
    assert len(shown) == len(study.trials)
    states = {"complete": "STATUS_SUCCESS", "failed": "STATUS_FAILURE", "pruned": "STATUS_UNKNOWN"}
    for trial in study.trials:
        group = shown[f"trial-{trial.number}"]
        assert plain(group.hparams) == {**trial.params, "kind": str(trial.params["kind"])}
        values = [value.value for value in group.metric_values]
        assert values == ([] if trial.state == "failed" else [pytest.approx(trial.value, rel=1e-6)])
        [session] = group.sessions
        assert api_pb2.Status.Name(session.status) == states[trial.state]
        assert trial.started and trial.finished
        assert (session.start_time_secs, session.end_time_secs) == (
            pytest.approx(trial.started.timestamp()),
            pytest.approx(trial.finished.timestamp()),
        )


@pytest.mark.tensorflow
def test_repeats_are_one_line_with_their_mean(tmp_path: Path) -> None:
    study = ran(tmp_path, "again", loop="tests.loops:seeded", objective="val_loss", trials=6, repeats=3, pruner="none")
    _, groups = hparams(study.tensorboard(tmp_path / "logs"))
    means = {group.name: [value.value for value in group.metric_values] for group in groups}
    found = {f"configuration-{item.number}": item.value for item in study.configurations if item.state == "complete"}
    assert found
    assert {name: means[name] for name in found} == {name: [pytest.approx(value)] for name, value in found.items()}
    assert {len(group.sessions) for group in groups} == {3}


@pytest.mark.tensorflow
def test_a_study_that_runs_is_shown_and_shown_again(study: Study, tmp_path: Path) -> None:
    """The trial has begun a second time: epochs that both attempts reported are those of the second one."""
    running = tuner.create_study(
        "running", loop="tests.loops:classifier", space=UNITS, objective="val_accuracy", settings=study.settings
    )
    running.submit()
    with pytest.raises(InvalidInput, match=r"No trial of study 'running' has begun yet.*tuner study show running"):
        running.tensorboard(tmp_path / "logs")
    assert not list(tmp_path.iterdir())
    with running.database.write() as s:
        row = study_id(s, "running")
        first = rows.held(s, row)
        for epoch, value in ((1, 0.5), (2, math.nan), (3, 0.9)):
            rows.report(s, first, epoch, {"val_accuracy": value}, value, seconds=1.0)
    folder = tmp_path / "deep" / "logs"
    shown = scalars(running.tensorboard(folder) / "trial-0")
    assert [step_value[:2] for step_value in shown["best_val_accuracy"]] == [(1, 0.5), (3, pytest.approx(0.9))]
    (folder / "trial-7").mkdir()
    with running.database.write() as s:
        rows.requeue(s, first, cause="node_lost")
        token = rows.lease(s, first.trial)
        assert token is not None
        rows.report(s, rows.Held(row, first.trial, token), 3, {"val_accuracy": 0.25}, 0.25, seconds=0.0)
    running.tensorboard(folder)
    accuracy = scalars(folder / "trial-0" / "validation")["epoch_accuracy"]
    assert [step for step, *_ in accuracy] == [1, 2, 3]
    assert [value for _, value, _ in accuracy] == pytest.approx([0.5, math.nan, 0.25], nan_ok=True)
    assert {path.name for path in folder.iterdir()} - {tensorboard_logs.MARK} > {"trial-0"}
    assert not (folder / "trial-7").exists()
    assert [path.name for path in folder.parent.iterdir()] == ["logs"]
    _, [group] = hparams(folder)
    assert group.sessions[0].end_time_secs == 0


def test_of_very_many_trials_the_best_and_the_newest_are_written(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tensorboard_logs, "MOST", 10)
    run = in_process(monkeypatch, capfd, study.settings.home)
    outcome = run("study", "tensorboard", "shown", str(tmp_path / "the logs"))
    assert (outcome.code, outcome.out) == (0, f"{tmp_path}/the logs\n")
    assert "the best and the newest 10 of 40" in outcome.err
    assert f"tensorboard --logdir '{tmp_path}/the logs'" in outcome.err
    written = {path.name for path in (tmp_path / "the logs").glob("trial-*")}
    complete = sorted((t for t in study.trials if t.state == "complete"), key=lambda t: -(t.value or 0.0))
    best = {trial.number for trial in complete[:5]}
    newest = [trial.number for trial in study.trials if trial.number not in best][-5:]
    assert written == {f"trial-{number}" for number in (*best, *newest)}
    outcome = run("study", "tensorboard", "shown", str(tmp_path / "the logs"), "--output", "json")
    assert outcome.out.split() == [
        "{",
        '"folder":',
        f'"{tmp_path}/the',
        'logs",',
        '"trials":',
        "10,",
        '"of":',
        "40",
        "}",
    ]


def test_nothing_of_others_is_replaced(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").mkdir()
    (tmp_path / "shown-tensorboard").symlink_to("linked")
    assert study.tensorboard() == Path("shown-tensorboard")  # an empty folder is nobody's
    study.tensorboard()
    assert (tmp_path / "linked" / "trial-0").is_dir()
    mine = tmp_path / "linked" / "fit"  # where somebody's own callback has written
    mine.mkdir()
    with pytest.raises(InvalidInput, match=r"holds 'fit', which is not of the logs of study 'shown'.*FOLDER"):
        study.tensorboard()
    mine.rmdir()
    own = tmp_path / "linked" / "trial-0" / "train" / "notes.txt"
    own.write_text("mine")
    with pytest.raises(InvalidInput, match=r"holds 'trial-0/train/notes\.txt'"):
        study.tensorboard()
    own.unlink()
    (tmp_path / "linked" / tensorboard_logs.MARK).write_text("of another study")
    (tmp_path / "file").write_text("")
    (tmp_path / "runs" / "trial-0").mkdir(parents=True)
    for folder, holds in (("linked", "holds"), ("file", "is a file"), ("runs", "holds 'trial-0'")):
        with pytest.raises(InvalidInput, match=holds):
            study.tensorboard(folder)
    with pytest.raises(InvalidInput, match=r"cannot be written to 'file/logs'.*Name another folder"):
        study.tensorboard("file/logs")
    assert (tmp_path / "runs" / "trial-0").is_dir()
    assert {path.name for path in tmp_path.iterdir()} == {"linked", "shown-tensorboard", "file", "runs"}


def test_writing_imports_no_tensorflow(study: Study, tmp_path: Path) -> None:
    """In a process of its own: here others have imported it."""
    program = (
        "import sys, tuner\n"
        f"study = tuner.load_study('shown', settings=tuner.Settings.load({{}}, home={str(study.settings.home)!r}))\n"
        "study.tensorboard('logs')\n"
        "print(sorted({'tensorflow', 'keras'} & set(sys.modules)))\n"
    )
    python = [sys.executable, "-c", program]
    result = subprocess.run(
        python, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert (result.stdout, result.returncode) == ("[]\n", 0), result.stderr
    assert (tmp_path / "logs" / "trial-0").is_dir()
