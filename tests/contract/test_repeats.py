"""Studies with repeats over real databases: what is ranked, kept, shown, and what a restart changes (nothing)."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

import pytest

from db import artifacts, configurations, studies, trials
from db.engine import Database
from db.tables import Trial
from tests import inline, rows
from tuner.reporting.explanations import trial_story
from tuner.reporting.results import StudySummary, configuration_results, study_row, trial_results

FORM: dict[str, Any] = {
    "name": "study",
    "loop": "tests.loops:seeded",
    "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
    "objective": "val_loss",
    "trials": 12,
    "repeats": 3,
    "epochs": 4,
    "pruner": "none",
    "checkpoint_seconds": 0.001,
}


def finished(
    database: Database, url: str, home: Path, restart_every: int | None = None, **changes: Any
) -> tuple[StudySummary, list[Trial]]:
    """Run a study to its end, see tests/inline.py."""
    return inline.finished(database, url, home, {**FORM, **changes}, restart_every)


def test_configurations_are_ranked_by_their_means(database: Database, database_url: str, tmp_path: Path) -> None:
    points = [{"x": x} for x in (0.05, 0.9, 0.35, 0.6)]  # the first one diverges with some seeds
    found, ended = finished(database, database_url, tmp_path, enqueue=points, keep=1, seed=2)
    assert [trial.params["x"] for trial in ended] == [x for point in points for x in [point["x"]] * 3]
    assert len({trial.seed for trial in ended}) == 12
    together = configuration_results(trial_results(database, "study"), 3)
    assert [item.state for item in together] == ["failed", "complete", "complete", "complete"]
    assert any(trial.state == "complete" for trial in ended[:3]), "not one of its repeats went well: it proves nothing"
    values = [trial.value or 0.0 for trial in ended[6:9]]
    best = found.best_configuration
    assert best is not None and found.best is not None
    assert (best.number, best.trials, best.params) == (2, (6, 7, 8), {"x": 0.35})
    assert best.value == pytest.approx(statistics.fmean(values))
    assert best.standard_error == pytest.approx(statistics.stdev(values) / 3**0.5)
    assert found.best.value == min(values), "the best repeat is the one to promote"
    with database.read() as s:
        study_id = study_row(database, "study").id
        ranked = configurations.best(s, study_id, "minimize", 3, limit=10)
        assert [trial.number // 3 for trial in ranked] == [2, 3, 1]
        assert artifacts.model(s, ranked[0].id) is not None, "the model of the winner was not kept"
        assert {item.trial_id for item in artifacts.of_study(s, study_id)} == {ranked[0].id}
        [entry] = studies.listing(s)
        assert entry.best_value == pytest.approx(best.value)


def test_a_restart_changes_nothing(database: Database, database_url: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"sampler": "gp", "trials": 14, "repeats": 2, "pruner": "asha", "epochs": 5}
    calm = finished(database, database_url, tmp_path, name="calm", **asked)
    hurried = finished(database, database_url, tmp_path, restart_every=5, name="hurried", **asked)
    told = [[(trial.params, trial.seed, trial.state, trial.value) for trial in run[1]] for run in (calm, hurried)]
    assert told[0] == told[1]
    assert sum(trial.token for trial in hurried[1]) > len(hurried[1]), "no trial was interrupted: it proves nothing"


def test_a_pruned_repeat_ends_its_configuration(database: Database, database_url: str, tmp_path: Path) -> None:
    points = [{"x": 0.3}, *({"x": x} for x in (0.9, 0.8, 0.85))]
    _, ended = finished(database, database_url, tmp_path, enqueue=points, pruner="asha", grace=2, eta=4, epochs=9)
    together = configuration_results(trial_results(database, "study"), 3)
    assert [item.state for item in together] == ["complete", "pruned", "pruned", "pruned"]
    assert {trial.state for trial in ended[3:]} == {"pruned"}, "a repeat went on for nothing"
    assert {trial.epochs for trial in ended[3:]} == {2}
    reasons = [trial_story(database, "study", number).decisions[-1].reason for number in range(3, 12)]
    assert all(reason.startswith("Stopped at epoch 2: ") for reason in reasons)


def test_a_budget_lets_the_configuration_that_began_have_its_repeats(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    for restart_every, name in ((None, "calm"), (3, "hurried")):
        found, ended = finished(
            database, database_url, tmp_path, restart_every, name=name, sampler="random", trials=30, total_epochs=13
        )
        assert len(ended) == 6, "13 epochs are reached in the fourth trial of four epochs"
        assert found.state == "finished" and "13 are the limit" in found.reason


def test_ranks_over_equal_and_infinite_values(database: Database) -> None:
    values = [
        0.5,
        0.25,
        0.375,
        0.375,
        0.625,
        0.125,
        0.0,
        float("inf"),
        0.0,
        None,
    ]  # pairs; the last two cannot be ranked
    with database.write() as s:
        study = rows.study(s, repeats=2)
        for value in values:
            held = rows.held(s, study)
            if value is not None:
                assert rows.end(s, held, "complete", value=value)
    with database.read() as s:
        up = configurations.best(s, study, "maximize", 2, limit=9)
        down = configurations.best(s, study, "minimize", 2, limit=9)
        assert [trial.number for trial in up] == [0, 2, 4]
        assert [trial.number for trial in down] == [1, 2, 5]
        assert [trial.number for trial in configurations.best(s, study, "minimize", 2)] == [1]
        assert configurations.best_mean(s, study, "minimize", 2) == 0.375
        last = trials.get(s, study, 8)
        assert last is not None and configurations.undecided(s, study, 2) == {last.id}
        assert configurations.best(s, study, "minimize", 3)[0].number == 1
