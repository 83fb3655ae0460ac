"""Trials that pruning would stop and that go on: which, what is written of them, and what is told of pruning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from db.engine import Database
from db.tables import Trial
from tests import inline
from tuner.pruners.audit import audited
from tuner.reporting.explanations import trial_story
from tuner.reporting.results import StudySummary

FORM: dict[str, Any] = {
    "name": "study",
    "loop": "tests.loops:seeded",
    "space": {"x": {"type": "float", "low": 0.2, "high": 1.0}},
    "sampler": "random",
    "objective": "val_loss",
    "trials": 24,
    "epochs": 9,
    "patience": None,
    "audit": 0.4,
}


def finished(
    database: Database, url: str, home: Path, restart_every: int | None = None, **changes: Any
) -> tuple[StudySummary, list[Trial]]:
    """Run a study to its end, see tests/inline.py."""
    return inline.finished(database, url, home, {**FORM, **changes}, restart_every)


def test_trials_that_are_audited_go_on_and_the_others_are_pruned_as_ever(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    found, ended = finished(database, database_url, tmp_path)
    spared: list[Trial] = []
    for trial in ended:
        decisions = trial_story(database, "study", trial.number).decisions
        if audited(0, trial.number, 0.4):
            assert (trial.state, trial.epochs) == ("complete", 9)
            spared += [trial] * any(decision.action == "spare" for decision in decisions)
        else:
            assert "spare" not in {decision.action for decision in decisions}
            assert (trial.state == "pruned") == (decisions[-1].action == "stop")
    assert {trial.state for trial in ended} == {"complete", "pruned"}
    assert found.audit is not None and len(spared) > 2
    others = min(trial.value or 0.0 for trial in ended if trial.state == "complete" and trial not in spared)
    values = [trial.value or 0.0 for trial in spared]
    told = found.audit
    assert (told.spared, told.complete, told.best, told.best_of_others) == (len(spared),) * 2 + (min(values), others)
    assert told.better == sum(value < others for value in values)
    [first, *_] = [
        item for item in trial_story(database, "study", spared[0].number).decisions if item.action == "spare"
    ]
    assert first.reason.startswith(f"Would be stopped at epoch {first.epoch}: ")


def test_a_restart_spares_the_same_trials(database: Database, database_url: str, tmp_path: Path) -> None:
    runs = [finished(database, database_url, tmp_path, name="calm")]
    runs.append(finished(database, database_url, tmp_path, name="hurried", restart_every=4))
    told = [[(trial.params, trial.state, trial.value, trial.epochs) for trial in run[1]] for run in runs]
    assert told[0] == told[1]
    assert runs[0][0].audit == runs[1][0].audit is not None


def test_configurations_are_spared_with_all_their_repeats(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    points = [{"x": 0.3}, *({"x": x} for x in (0.9, 0.8, 0.85))]
    found, ended = finished(
        database, database_url, tmp_path, enqueue=points, repeats=3, trials=12, audit=1.0, grace=2, eta=4
    )
    assert {(trial.state, trial.epochs) for trial in ended} == {("complete", 9)}
    assert found.audit is not None and found.best_configuration is not None
    assert (found.audit.spared, found.audit.complete, found.audit.better) == (3, 3, 0)
    assert found.audit.best_of_others == found.best_configuration.value


def test_a_study_without_an_audit_tells_nothing_of_it(database: Database, database_url: str, tmp_path: Path) -> None:
    found, ended = finished(database, database_url, tmp_path, audit=0)
    assert found.audit is None
    assert "pruned" in {trial.state for trial in ended}
