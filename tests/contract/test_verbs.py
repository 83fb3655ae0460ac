"""Pause, resume, stop, cancel and edits while a coordinator runs the study: what each means, and when it is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product

import pytest

from db import reports, states, studies, trials
from db.engine import Database
from db.tables import Attempt
from tests import rows
from tests.bench import ENDLESS, Bench
from tuner import running, verbs
from tuner.coordination import collecting
from tuner.coordination import coordinator as coordinating
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidInput, UnknownName
from tuner.reporting.results import study_row, summary


def epochs(bench: Bench) -> int:
    return summary(bench.database, "study").epochs


def attempts(bench: Bench, number: int) -> list[Attempt]:
    with bench.database.read() as s:
        return trials.attempts(s, bench.trials("study")[number].id)


@pytest.fixture
def bench(make_bench: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Verbs are seen soon, and what leaves may take as long to the end of its epoch as a busy machine needs."""
    monkeypatch.setattr(coordinating, "LOOK_SECONDS", 0.05)
    monkeypatch.setattr(collecting, "LEAVE_SECONDS", 60.0)
    return make_bench("crowd", workers=2)


def test_a_paused_study_gives_its_workers_back_and_goes_on_where_it_was(bench: Bench) -> None:
    bench.submit("study", **ENDLESS, trials=2)
    bench.run(lambda: [trial.epochs >= 2 for trial in bench.trials("study")] == [True, True])
    assert verbs.ask(bench.database, "study", verbs.PAUSE)
    bench.run(lambda: {trial.state for trial in bench.trials("study")} == {"queued"})
    bench.run(lambda: bench.launcher.room(StudyDefinition(name="any").resources()) == 2)
    before = epochs(bench)
    for _ in range(5):
        bench.coordinator.step()
    assert (bench.state("study"), epochs(bench)) == ("paused", before)
    assert verbs.ask(bench.database, "study", verbs.RESUME)
    bench.run(lambda: epochs(bench) >= before + 6)
    bench.enough()
    bench.finish("study")
    assert bench.state("study") == "finished"
    for number in (0, 1):
        first, second = attempts(bench, number)
        assert (first.cause, first.message, second.cause) == ("cancelled", "The study was paused.", None)
        with bench.database.read() as s:
            curve = reports.curve(s, bench.trials("study")[number].id)
        assert [report.epoch for report in curve] == list(range(1, len(curve) + 1))
        assert second.resumed_from == sum(report.token == 1 for report in curve), "epochs were trained twice"


def test_a_trial_that_cannot_be_saved_is_paused_all_the_same(bench: Bench) -> None:
    bench.submit("study", **{**ENDLESS, "loop": "forgetful", "trials": 1})
    bench.run(lambda: epochs(bench) >= 3)
    verbs.ask(bench.database, "study", verbs.PAUSE)
    bench.run(lambda: [trial.state for trial in bench.trials("study")] == ["queued"])
    verbs.ask(bench.database, "study", verbs.RESUME)
    bench.enough()
    bench.finish("study")
    assert [attempt.resumed_from for attempt in attempts(bench, 0)] == [0, 0]
    assert summary(bench.database, "study").counts == {"complete": 1}


def test_a_paused_study_stays_paused_under_the_next_coordinator_and_can_be_stopped(bench: Bench) -> None:
    bench.submit("study", **ENDLESS)
    bench.run(lambda: epochs(bench) >= 2)
    verbs.ask(bench.database, "study", verbs.PAUSE)
    bench.coordinator.close()
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    for _ in range(5):
        bench.coordinator.step()
    assert {trial.state for trial in bench.trials("study")} == {"queued"}
    verbs.ask(bench.database, "study", verbs.STOP)
    bench.finish("study")
    assert bench.state("study") == "stopped"
    assert {trial.state for trial in bench.trials("study")} == {"cancelled"}


def test_running_a_paused_study_resumes_it(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("inline")
    bench.submit("study", trials=2)
    assert verbs.ask(bench.database, "study", verbs.PAUSE)
    definition = StudyDefinition.from_json(study_row(bench.database, "study").definition)
    running.run(definition, replace(bench.settings, launcher="inline"))
    assert summary(bench.database, "study").counts == {"complete": 2}


def test_what_nobody_followed_is_followed_by_the_next_coordinator(bench: Bench) -> None:
    bench.submit("study", **ENDLESS)
    bench.run(lambda: epochs(bench) >= 2)
    bench.coordinator.close()
    assert verbs.cancel_trial(bench.database, "study", 0)
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.run(lambda: bench.trials("study")[0].state == "cancelled" and bench.trials("study")[1].state == "running")
    bench.coordinator.close()
    verbs.ask(bench.database, "study", verbs.CANCEL)
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.finish("study")
    assert bench.state("study") == "cancelled"
    assert {trial.state for trial in bench.trials("study")} == {"cancelled"}


def test_cancelling_a_study_ends_its_running_trials_and_keeps_what_was_found(bench: Bench) -> None:
    bench.submit("study", "paced", epochs=8, trials=500)
    bench.run(lambda: summary(bench.database, "study").counts.get("complete", 0) >= 2)
    assert verbs.ask(bench.database, "study", verbs.CANCEL)
    bench.finish("study")
    row, found = study_row(bench.database, "study"), bench.trials("study")
    assert (row.state, row.reason) == ("cancelled", "cancelled on request")
    ends = {(trial.state, trial.cause) for trial in found}
    assert ("complete", None) in ends
    assert ends <= {("complete", None), ("cancelled", "cancelled")}
    assert all(trial.message == "The study was cancelled." for trial in found if trial.state == "cancelled")
    assert bench.launcher.room(StudyDefinition(name="any").resources()) == 2


@pytest.mark.parametrize("change", [{"sampler": "oracle"}, {"quorum": 3}])
@pytest.mark.parametrize(
    ("verb", "runs", "state"),
    [
        (verbs.STOP, False, "stopped"),
        (verbs.STOP, True, "stopping"),  # what runs is to be finished
        (verbs.CANCEL, False, "cancelled"),
        (verbs.CANCEL, True, "cancelled"),
    ],
)
def test_a_study_that_every_coordinator_leaves_alone_ends_when_asked(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, verb: verbs.Verb, runs: bool, state: str, change: dict[str, object]
) -> None:
    monkeypatch.setattr(coordinating, "BEAT_SECONDS", 0.0)
    bench.submit("study", **ENDLESS, trials=2)
    bench.run(lambda: [trial.epochs >= 1 for trial in bench.trials("study")] == [True, True])
    bench.coordinator.close()
    study = study_row(bench.database, "study")
    with bench.database.write() as s:
        studies.edit(s, study.id, {**study.definition, **change})
        if runs:  # its coordinator was killed
            assert rows.lease(s, bench.trials("study")[0].id, seconds=0.0) == 2
    bench.coordinator = Coordinator(bench.database, bench.launcher, bench.settings)
    bench.coordinator.step()
    assert bench.state("study") == "active"
    assert verbs.ask(bench.database, "study", verb)
    bench.coordinator.step()
    row = study_row(bench.database, "study")
    assert row.state == state
    if state != "stopping":
        assert row.reason == f"{state} on request"
        assert {trial.state for trial in bench.trials("study")} == {"cancelled"}
        assert all(attempt.ended_at for number in (0, 1) for attempt in attempts(bench, number))


def test_a_running_and_a_queued_trial_can_be_cancelled_alone(bench: Bench) -> None:
    bench.submit("study", **ENDLESS, trials=3, workers=1)
    bench.run(lambda: epochs(bench) >= 2)
    verbs.ask(bench.database, "study", verbs.PAUSE)  # so that trial 0 waits
    bench.run(lambda: [trial.state for trial in bench.trials("study")] == ["queued"])
    assert verbs.cancel_trial(bench.database, "study", 0)
    assert not verbs.cancel_trial(bench.database, "study", 0), "it was asked for already"
    bench.run(lambda: bench.trials("study")[0].state == "cancelled")
    verbs.ask(bench.database, "study", verbs.RESUME)
    bench.run(lambda: len(bench.trials("study")) == 2 and bench.trials("study")[1].epochs >= 2)
    assert verbs.cancel_trial(bench.database, "study", 1)
    bench.run(lambda: bench.trials("study")[1].state == "cancelled")
    bench.enough()
    bench.finish("study")
    assert [(trial.state, trial.message) for trial in bench.trials("study")] == [
        ("cancelled", ""), ("cancelled", "The trial was cancelled."), ("complete", ""),
    ]  # fmt: skip
    assert not verbs.cancel_trial(bench.database, "study", 2), "it has ended"
    with pytest.raises(InvalidInput, match="has no trial 3"):
        verbs.cancel_trial(bench.database, "study", 3)


def test_a_trial_is_cancelled_out_of_an_assignment_whose_others_go_on(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The three take turns, and whose turn is first is not said: one that has not begun is cancelled."""
    monkeypatch.setattr(StudyDefinition, "together", lambda *_: 3)
    bench.submit("study", **ENDLESS, trials=3)
    bench.run(lambda: any(trial.epochs for trial in bench.trials("study")))
    waiting = next(trial.number for trial in bench.trials("study") if not trial.epochs)
    assert verbs.cancel_trial(bench.database, "study", waiting)
    bench.run(lambda: bench.trials("study")[waiting].state == "cancelled")
    bench.enough()
    bench.finish("study")
    ends = {trial.number: (trial.state, trial.token) for trial in bench.trials("study")}
    assert ends == {n: ("cancelled" if n == waiting else "complete", 1) for n in range(3)}


def test_limits_can_be_changed_while_a_study_runs(bench: Bench) -> None:
    bench.submit("study", "paced", epochs=10, trials=500)
    bench.run(lambda: len(bench.trials("study")) >= 2)
    known = len(bench.trials("study"))
    verbs.edit(bench.database, "study", {"trials": known + 2, "max_seconds": 1000})
    bench.finish("study")
    assert bench.state("study") == "finished"
    assert study_row(bench.database, "study").definition["max_seconds"] == 1000
    assert known + 2 <= len(bench.trials("study")) <= known + 4  # what began before the edit was seen counts
    bench.submit("study", "paced", epochs=10, trials=500)  # still the same study
    with pytest.raises(InvalidInput, match="Did you mean `trials`"):  # that comes first: it would be wrong at any time
        verbs.edit(bench.database, "study", {"trails": 600})


def test_a_study_that_a_newer_version_edits_goes_on_as_it_was(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.submit("study", **ENDLESS, trials=2)
    bench.run(lambda: len(bench.trials("study")) == 2)
    study = study_row(bench.database, "study")
    with bench.database.write() as s:
        assert studies.edit(s, study.id, {**study.definition, "trials": 9, "quorum": 3})
    bench.run(lambda: "Study study was edited, and goes on as it was before." in caplog.text)
    assert "has the field 'quorum', which this version of Ockham does not know" in caplog.text
    assert verbs.cancel_trial(bench.database, "study", 0)
    bench.run(lambda: bench.trials("study")[0].state == "cancelled")
    bench.enough()
    bench.run(lambda: bench.state("study") == "finished")
    assert [trial.state for trial in bench.trials("study")] == ["cancelled", "complete"]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"wieght": 2}, "`wieght` is not a field. Did you mean `weight`"),
        ({"epochs": 9}, "`epochs` says what the study is and cannot be changed"),
        ({"weight": 0, "workers": "four"}, "`weight` is 0; .*\n`workers` is the text 'four'"),
        ({"trials": 1}, "`trials` is 1, and the study has 2 already"),
    ],
)
def test_a_wrong_change_is_refused_and_nothing_is_changed(
    make_bench: Callable[..., Bench], changes: dict[str, object], sentence: str
) -> None:
    bench = make_bench("inline")
    bench.submit("study")
    with bench.database.write() as s:
        for _ in range(2):
            rows.trial(s, study_row(bench.database, "study").id)
    before = study_row(bench.database, "study")
    with pytest.raises(InvalidInput, match=sentence):
        verbs.edit(bench.database, "study", changes)
    after = study_row(bench.database, "study")
    assert (after.definition, after.revision) == (before.definition, before.revision)


def test_an_edit_changes_what_it_names_and_nothing_else(make_bench: Callable[..., Bench]) -> None:
    bench = make_bench("inline")
    bench.submit("study", repeats=3, cohort=6, keep=2, priority=4)
    before = study_row(bench.database, "study").definition
    verbs.edit(bench.database, "study", {"weight": 2.5})
    assert study_row(bench.database, "study").definition == {**before, "weight": 2.5}
    with pytest.raises(InvalidInput, match=r"`trials` is 7 and `repeats` is 3: .* such as 6 or 9"):
        verbs.edit(bench.database, "study", {"trials": 7})


MEANING = {
    ("active", "pause"): "paused", ("active", "resume"): None, ("active", "stop"): "stopping",
    ("active", "cancel"): "cancelling",
    ("paused", "pause"): None, ("paused", "resume"): "active", ("paused", "stop"): "stopping",
    ("paused", "cancel"): "cancelling",
    ("stopping", "pause"): "refused", ("stopping", "resume"): "refused", ("stopping", "stop"): None,
    ("stopping", "cancel"): "cancelling",
    ("cancelling", "pause"): "refused", ("cancelling", "resume"): "refused", ("cancelling", "cancel"): None,
    ("cancelling", "stop"): "refused",
    **{(state, "pause"): "refused" for state in verbs.OVER},
    **{(state, "resume"): "active" for state in verbs.OVER},  # with trials left; see test_continuing.py
    **{(state, verb): None for state in verbs.OVER for verb in ("stop", "cancel")},
}  # fmt: skip
"""By state and verb: the state it leads to; None: nothing to do; or refused."""


def test_every_verb_in_every_state(database: Database) -> None:
    asked = {"pause": verbs.PAUSE, "resume": verbs.RESUME, "stop": verbs.STOP, "cancel": verbs.CANCEL}
    assert set(MEANING) == set(product(states.STUDY, asked))
    for (state, verb), meaning in MEANING.items():
        name = f"{state}-{verb}"
        with database.write() as s:
            study = rows.study(s, name)
            assert studies.edit(s, study, StudyDefinition(name=name).to_json())
            wish = {"stopped": "stopping", "cancelled": "cancelling"}.get(state, state)
            if wish in ("paused", "stopping", "cancelling"):
                assert studies.request(s, study, wish)
            if state in verbs.OVER:
                assert studies.finish(s, study, state, "because")
        if meaning == "refused":
            with pytest.raises(InvalidInput, match=f"'{name}' is {state}"):
                verbs.ask(database, name, asked[verb])
        else:
            assert verbs.ask(database, name, asked[verb]) == (meaning is not None)
        assert study_row(database, name).state == (state if meaning in (None, "refused") else meaning)
    with pytest.raises(UnknownName, match="active-pause"):
        verbs.ask(database, "active-pose", verbs.PAUSE)
