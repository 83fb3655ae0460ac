"""Which artifacts stay: a folder that trials share goes with the last of them that needs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from db import artifacts, models
from db.engine import Database, Session
from tests import rows
from tests.bench import ENDLESS, Bench
from tests.rows import Held
from tuner import verbs
from tuner.coordination.housekeeping import remove_stale_rows
from tuner.definitions.definition import StudyDefinition, parse


@pytest.fixture
def definition() -> StudyDefinition:
    form = {"name": "digits", "loop": "tests.loops:descent", "objective": "val_loss", "epochs": 9, "keep": 1}
    return parse({**form, "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}}})


def save(s: Session, kind: str, epoch: int, *together: Held) -> str:
    """One folder that these attempts share."""
    key = f"digits/{together[0].trial}/{kind}-{epoch}"
    new = [artifacts.New(held.trial, held.token, kind, epoch, key, "5a", 100) for held in together]
    assert artifacts.add(s, new) == {(held.trial, held.token) for held in together}
    return key


def owners(s: Session, study: int) -> dict[str, list[int]]:
    """Which trials have a row for a key, by trial's id."""
    found: dict[str, list[int]] = {}
    for row in artifacts.of_study(s, study):
        found.setdefault(row.key, []).append(row.trial_id)
    return found


def complete(s: Session, members: Sequence[Held], *values: float) -> None:
    for held, value in zip(members, values, strict=True):
        assert rows.end(s, held, "complete", value=value)


def test_a_shared_checkpoint_stays_until_no_unfinished_trial_resumes_from_it(
    database: Database, definition: StudyDefinition
) -> None:
    with database.write() as s:
        study = rows.study(s)
        cohort = [rows.held(s, study) for _ in range(4)]
        first, second = (save(s, "checkpoint", epoch, *cohort) for epoch in (1, 2))
        assert remove_stale_rows(s, study, definition) == [first], "the newest of each trial stays"
        complete(s, cohort[:2], 1.0, 2.0)
        assert rows.requeue(s, cohort[2], cause="node_lost")
        assert remove_stale_rows(s, study, definition) == []
        left = [held.trial for held in cohort[2:]]
        assert owners(s, study) == {second: left}
        third = save(s, "checkpoint", 3, cohort[3])
        assert remove_stale_rows(s, study, definition) == [], "the queued one resumes from it"
        assert owners(s, study) == {second: [cohort[2].trial], third: [cohort[3].trial]}
        token = rows.lease(s, cohort[2].trial)
        assert token is not None
        complete(s, [Held(study, cohort[2].trial, token), cohort[3]], 3.0, 4.0)
        assert remove_stale_rows(s, study, definition) == sorted([second, third])
        assert owners(s, study) == {}


def test_a_shared_model_stays_with_the_best_and_the_promoted(database: Database, definition: StudyDefinition) -> None:
    with database.write() as s:
        study = rows.study(s)
        cohort = [rows.held(s, study) for _ in range(3)]
        shared = save(s, "model", 5, *cohort)
        complete(s, cohort, 3.0, 1.0, 2.0)
        assert remove_stale_rows(s, study, definition) == []
        assert owners(s, study) == {shared: [cohort[1].trial]}
        promoted = models.ensure(s, "digits", "/models/digits")
        models.ready(s, models.reserve(s, promoted.id, cohort[1].trial, str).id, "5a", {})
        better = rows.held(s, study)
        single = save(s, "model", 6, better)
        complete(s, [better], 0.5)
        assert remove_stale_rows(s, study, definition) == [], "a version was made of it"
        assert owners(s, study) == {shared: [cohort[1].trial], single: [better.trial]}


@pytest.mark.parametrize("repeats", [1, 2])
def test_the_best_model_of_each_smaller_size_stays(
    database: Database, definition: StudyDefinition, repeats: int
) -> None:
    ended = [(0.9, 1000), (0.5, 900), (0.6, 500), (0.7, 300), (0.65, 400), (0.8, 250), (0.55, 7000), (1.0, 1)]
    with database.write() as s:
        study, number = rows.study(s), {}
        for configuration, (value, weights) in enumerate(ended):
            for _ in range(repeats):
                held = rows.held(s, study)
                save(s, "model", 1, held)
                assert rows.end(s, held, "complete", value=value, weights=weights)
                number[held.trial] = configuration
            remove_stale_rows(s, study, replace(definition, repeats=repeats))
        kept = [number[trial] for [trial] in owners(s, study).values()]
    assert kept == [1, 2, 5, 7], "sizes are powers of two: 512 to 1023, 256 to 511, 128 to 255, 1"


def test_a_folder_of_trials_that_are_all_over_goes_once(database: Database, definition: StudyDefinition) -> None:
    with database.write() as s:
        study = rows.study(s)
        best, *worse = (rows.held(s, study) for _ in range(4))
        kept, gone = save(s, "model", 1, best), save(s, "model", 1, *worse)
        complete(s, [best, *worse], 1.0, 2.0, 3.0, 4.0)
        assert remove_stale_rows(s, study, definition) == [gone]
        assert owners(s, study) == {kept: [best.trial]}


def test_a_newer_checkpoint_takes_the_place_of_the_trials_older_ones(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        one, other, third = (rows.held(s, study) for _ in range(3))
        model = save(s, "model", 1, one)
        shared, first = save(s, "checkpoint", 1, one, other), save(s, "checkpoint", 1, third)
        own = save(s, "checkpoint", 2, one)
        assert artifacts.remove_superseded(s, {one.trial}) == set(), "another trial resumes from the folder"
        second, late = save(s, "checkpoint", 2, third), save(s, "checkpoint", 2, other)
        assert artifacts.remove_superseded(s, {one.trial, other.trial}) == {shared}
        kept = {model: [one.trial], own: [one.trial], late: [other.trial]}
        assert owners(s, study) == kept | {key: [third.trial] for key in (first, second)}, "it was not asked about"
        artifacts.remove(s, [row.id for row in artifacts.of_study(s, study) if row.key == first])
        assert save(s, "checkpoint", 1, third) == first  # a worker says it again, and its row is the newest
        assert artifacts.remove_superseded(s, {third.trial}) == {first}
        assert rows.requeue(s, third, cause="node_lost")
        token = rows.lease(s, third.trial)
        assert token is not None
        anew = save(s, "checkpoint", 0, Held(study, third.trial, token))
        assert artifacts.remove_superseded(s, {third.trial}) == {second}, "what a newer attempt saved counts"
        assert owners(s, study) == kept | {anew: [third.trial]}


def test_a_trial_that_trains_long_leaves_one_checkpoint(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("crowd", workers=1)
    bench.submit("long", **{**ENDLESS, "checkpoint_seconds": 0.001}, trials=1)
    bench.run(lambda: bool(bench.trials("long")) and bench.trials("long")[0].epochs >= 20)
    [trial] = bench.trials("long")
    with bench.database.read() as s:
        saved = artifacts.of_study(s, trial.study_id)
    assert [(row.kind, row.trial_id) for row in saved] == [("checkpoint", trial.id)]
    bench.enough()
    bench.finish("long")
    bench.coordinator.close()
    with bench.database.read() as s:
        keys = artifacts.keys(s)
    root = bench.settings.artifacts
    assert {str(path.parent.relative_to(root)) for path in root.rglob("manifest.json")} == keys


def test_what_a_stopped_study_will_not_resume_from_goes(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("crowd", workers=1)
    bench.submit("long", **ENDLESS, trials=1)
    bench.run(lambda: bool(bench.trials("long")) and bench.trials("long")[0].epochs >= 2)
    verbs.ask(bench.database, "long", verbs.PAUSE)
    bench.run(lambda: bench.trials("long")[0].state == "queued")
    [trial] = bench.trials("long")
    with bench.database.read() as s:
        assert len(artifacts.of_study(s, trial.study_id)) == 1
    verbs.ask(bench.database, "long", verbs.STOP)
    bench.finish("long")
    with bench.database.read() as s:
        assert artifacts.of_study(s, trial.study_id) == []
