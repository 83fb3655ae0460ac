"""A study that has ended goes on: with more trials, with other limits, or with what its limits leave."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from db import studies
from db.engine import Database
from tests import rows
from tests.bench import ENDLESS, Bench
from tests.invariants import Snapshot, results
from tuner import running, verbs
from tuner.coordination import coordinator as coordinating
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import StudyDefinition, parse
from tuner.errors import InvalidInput, StudyExists
from tuner.reporting.results import study_row, summary
from tuner.study import Study

LEARNS: dict[str, Any] = {"sampler": "gp", "pruner": "asha", "workers": 1, "trials": 14}
"""More trials than `gp` needs before it models them. One worker: each proposal knows all trials before it."""


@pytest.fixture
def bench(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(coordinating, "BEAT_SECONDS", 0.0)  # a study that goes on is claimed at once,
    monkeypatch.setattr(coordinating, "LOOK_SECONDS", 0.0)  # and no trial starts after a verb
    return make_bench("crowd", workers=2)


def kinds(bench: Bench, name: str = "study") -> list[str]:
    """The events of a study that its people cause or wait for."""
    with bench.database.read() as s:
        found = [event.kind for event in rows.events(s, study_row(bench.database, name).id)]
    return [kind for kind in found if kind in ("study_edited", "study_reopened", "study_finished")]


def test_a_study_that_goes_on_becomes_the_one_that_had_more_trials_from_the_beginning(bench: Bench) -> None:
    bench.submit("study", **LEARNS)
    bench.finish("study")
    before, found = Snapshot.of(bench.database), results(bench.database, "study")
    bench.coordinator.close()
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    edited = verbs.edit(bench.database, "study", {"trials": 24})
    assert (edited.reopened, edited.changes) == ("finished", {"trials": 24, "max_failures": 6})
    row = study_row(bench.database, "study")
    assert (row.state, row.reason, row.finished_at) == ("active", None, None)
    bench.finish("study")
    after = Snapshot.of(bench.database)
    before.leads_to(after)
    assert results(bench.database, "study")[:14] == found
    assert kinds(bench) == ["study_finished", "study_reopened", "study_edited", "study_finished"]
    assert "limit of 24 trials" in str(study_row(bench.database, "study").reason)
    bench.submit("other", **{**LEARNS, "trials": 24})
    bench.finish("other")
    assert results(bench.database, "study") == results(bench.database, "other")
    assert len({trial.params["x"] for trial in bench.trials("study")}) == 24


@pytest.mark.parametrize("verb", [verbs.STOP, verbs.CANCEL])
def test_a_study_that_was_ended_goes_on_with_the_trials_that_are_left(bench: Bench, verb: verbs.Verb) -> None:
    bench.submit("study", **ENDLESS, trials=4)
    bench.run(lambda: len([trial for trial in bench.trials("study") if trial.epochs]) == 2)
    verbs.ask(bench.database, "study", verb)
    if verb is verbs.STOP:
        with pytest.raises(InvalidInput, match="is stopping, which ends it"):
            verbs.ask(bench.database, "study", verbs.RESUME)
        bench.enough()
    bench.finish("study")
    before = Snapshot.of(bench.database)
    with pytest.raises(InvalidInput, match=r"its limits stay as they are\. .* tuner study resume study"):
        verbs.edit(bench.database, "study", {"weight": 2})
    assert verbs.ask(bench.database, "study", verbs.RESUME)
    bench.enough()
    bench.finish("study")
    before.leads_to(Snapshot.of(bench.database))
    ended = "complete" if verb is verbs.STOP else "cancelled"
    assert [trial.state for trial in bench.trials("study")] == [ended, ended, "complete", "complete"]


def test_a_study_that_failed_goes_on_when_more_may_fail(bench: Bench) -> None:
    space = {"kind": {"type": "choice", "options": ["raises", "silent"]}}
    bench.submit("study", "sometimes_bad", space=space, trials=8, max_failures=1, workers=1)
    bench.finish("study")
    assert (bench.state("study"), len(bench.trials("study"))) == ("failed", 2)
    for refused in (
        lambda: verbs.ask(bench.database, "study", verbs.RESUME),
        lambda: verbs.edit(bench.database, "study", {"trials": 20}),
    ):
        with pytest.raises(InvalidInput, match=r"2 of 2 .* failed, and 1 may; .* set study max_failures=VALUE"):
            refused()
    assert verbs.edit(bench.database, "study", {"max_failures": 4}).reopened == "failed"
    bench.finish("study")
    assert (bench.state("study"), len(bench.trials("study"))) == ("failed", 5)


@pytest.mark.parametrize(
    ("limits", "used_up", "change"),
    [
        ({"trials": 4}, ["trials"], {"trials": 6}),
        ({"target": 100.0}, ["target"], {"target": None}),
        ({"target": 100.0, "trials": 1}, ["target", "trials"], {"target": None, "trials": 2}),
        ({"total_epochs": 6}, ["total_epochs"], {"total_epochs": 100}),
        ({"max_seconds": 0.001}, ["max_seconds"], {"max_seconds": 1000}),
        ({"no_improvement": 1, "repeats": 2, "seed": 3}, ["no_improvement"], {"no_improvement": None}),
    ],
)
def test_what_is_used_up_is_named_and_another_limit_lets_the_study_go_on(
    bench: Bench, limits: dict[str, Any], used_up: list[str], change: dict[str, Any]
) -> None:
    bench.submit("study", **{"trials": 10, "workers": 1, **limits})
    bench.finish("study")
    ended, begun = study_row(bench.database, "study"), len(bench.trials("study"))
    assert begun < 10
    for refused in (
        lambda: verbs.ask(bench.database, "study", verbs.RESUME),
        lambda: verbs.edit(bench.database, "study", {"weight": 2}),
    ):
        with pytest.raises(InvalidInput) as refusal:
            refused()
        said = str(refusal.value)
        assert said.startswith(f"Study 'study' is finished and has nothing left to do. {ended.reason}"), said
        assert said.endswith("tuner study set study " + " ".join(f"{field}=VALUE" for field in used_up)), said
    assert study_row(bench.database, "study").revision == ended.revision
    verbs.edit(bench.database, "study", change)
    bench.finish("study")
    assert len(bench.trials("study")) > begun


def test_a_study_ends_again_when_its_grid_has_no_more_points(bench: Bench) -> None:
    space = {"x": {"type": "choice", "options": [0.25, 0.5, 0.75]}}
    bench.submit("study", space=space, sampler="grid", trials=5)
    bench.finish("study")
    ended = study_row(bench.database, "study")
    verbs.edit(bench.database, "study", {"trials": 9})
    bench.finish("study")
    again = study_row(bench.database, "study")
    assert (
        (again.state, again.reason)
        == ("finished", ended.reason)
        == ("finished", "Every point of the grid has been tried.")
    )
    assert len(bench.trials("study")) == 3


def test_an_edit_that_its_coordinator_has_not_seen_when_the_study_ends_is_not_lost(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coordinating, "LOOK_SECONDS", 3600.0)
    bench.submit("study", trials=2)
    bench.run(lambda: len(bench.trials("study")) == 2)
    assert verbs.edit(bench.database, "study", {"trials": 5}).reopened is None
    bench.finish("study")
    assert len(bench.trials("study")) == 5
    assert kinds(bench) == ["study_edited", "study_finished"]


def test_an_edit_waits_for_a_study_that_is_just_ending(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.edit(s, study, StudyDefinition(name="digits", trials=1).to_json())
    found: list[verbs.Edited] = []
    edit = threading.Thread(target=lambda: found.append(verbs.edit(database, "digits", {"trials": 2})))
    with database.write() as s:
        assert studies.finish(s, study, "finished", "All trials are over.", revision=1)
        edit.start()
        edit.join(0.2)  # it waits for the row, or has not begun
    edit.join(60)
    assert [item.reopened for item in found] == ["finished"]
    with database.read() as s:
        assert (studies.get(s, study).state, studies.get(s, study).definition["trials"]) == ("active", 2)


def test_a_file_with_the_old_or_the_new_numbers_goes_on_with_the_study(bench: Bench) -> None:
    bench.submit("study", trials=40, total_epochs=4, workers=1)
    bench.finish("study")
    old = StudyDefinition.from_json(study_row(bench.database, "study").definition)
    new = parse({**old.to_json(), "total_epochs": 8, "trials": 60, "max_failures": None})
    with pytest.raises(StudyExists, match="go on with these limits: tuner study set study trials=60 total_epochs=8"):
        running.run(new, bench.settings)
    bench.coordinator.close()
    settings = replace(bench.settings, launcher="inline")
    study = Study(old, settings, bench.database)
    study.set(total_epochs=8)
    assert study.state == "active"
    study.run(progress=False)
    assert summary(bench.database, "study").epochs == 8
    study.set(trials=60, total_epochs=12)
    Study(old, settings, bench.database).run(progress=False)
    assert summary(bench.database, "study").epochs == 12
    study.set(total_epochs=8 + 8)
    Study(replace(new, total_epochs=16), settings, bench.database).run(progress=False)
    assert summary(bench.database, "study").epochs == 16
    assert study.wait(timeout=1).state == "finished"
