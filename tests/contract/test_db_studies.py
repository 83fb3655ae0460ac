"""Studies: one per name, one coordinator per term, and an end that is final."""

from __future__ import annotations

import math
import time
from itertools import product
from typing import Any

import pytest
from sqlalchemy import event

from db import states, studies, trials
from db.engine import Database, Session
from db.errors import AlreadyExists, IllegalTransition
from tests import rows

NAP = 0.4  # seconds that the short leases of these tests last


def in_state(s: Session, state: str, name: str) -> int:
    study = rows.study(s, name)
    wish = {"stopped": "stopping", "cancelled": "cancelling"}.get(state, state)
    if wish in ("paused", "stopping", "cancelling"):
        assert studies.request(s, study, wish)
    if state in states.terminal(states.STUDY):
        assert studies.finish(s, study, state, "because")
    return study


def test_a_new_study_is_active_and_can_be_found(database: Database) -> None:
    with database.write() as s:
        taxi = rows.study(s, "taxi", objective="val_loss")
        rows.study(s, "another")
    with database.read() as s:
        study = studies.find(s, "taxi")
        assert study is not None
        assert (study.id, study.state, study.term, study.owner) == (taxi, "active", 0, None)
        assert study.definition["objective"] == "val_loss"
        assert studies.find(s, "Taxi") is None
        assert studies.names(s) == ["taxi", "another"]


def test_a_taken_name_is_refused_and_the_transaction_goes_on(database: Database) -> None:
    with database.write() as s:
        rows.study(s, "taxi")
        with pytest.raises(AlreadyExists, match="'taxi'"):
            rows.study(s, "taxi")
        rows.study(s, "taxi2")
    with database.read() as s:
        assert studies.names(s) == ["taxi", "taxi2"]


def test_a_claim_holds_until_its_lease_ends(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert [row.id for row in studies.runnable(s)] == [study]
        assert studies.claim(s, study, "one", NAP) == 1
        assert studies.claim(s, study, "two", NAP) is None
        assert studies.runnable(s) == []
    time.sleep(NAP)
    with database.write() as s:
        assert [row.id for row in studies.runnable(s)] == [study]
        assert studies.claim(s, study, "two", 60) == 2
        assert not studies.renew(s, study, "one", 1, 60, 0.0)
        assert not studies.renew(s, study, "two", 1, 60, 0.0)
        assert not studies.renew(s, study, "one", 2, 60, 0.0)
        assert not studies.release(s, study, "one", 1)
        row = studies.get(s, study)
        assert (row.owner, row.term) == ("two", 2)
        assert studies.renew(s, study, "two", 2, 60, 0.0)


def test_a_lease_that_ended_can_be_renewed_while_nobody_else_claimed(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "one", 0.0) == 1
        assert studies.renew(s, study, "one", 1, 60, 0.0)
        assert studies.claim(s, study, "two", 60) is None


def test_the_seconds_of_a_study_are_those_that_its_coordinator_counted(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.get(s, study).active_seconds == 0.0
        assert studies.claim(s, study, "one", 60) == 1
        assert studies.renew(s, study, "one", 1, 60, 2.5)
        assert studies.claim(s, study, "one", 60) == 2
        assert not studies.renew(s, study, "one", 1, 60, 99.0)
        assert studies.release(s, study, "one", 2)
        assert studies.get(s, study).active_seconds == 2.5


def test_counting_and_the_best_trial_need_no_rows_of_other_trials(database: Database) -> None:
    """What a page of a study costs must not grow with each of its trials: they are read in an index alone."""
    if database.dialect != "sqlite":
        pytest.skip("PostgreSQL chooses by the size of the table")
    plans: list[str] = []
    with database.write() as s:
        study, connection = rows.study(s), s.connection()

        def explain(_: object, cursor: Any, statement: str, parameters: Any, *__: object) -> None:
            plans.extend(row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))

        event.listen(connection, "before_cursor_execute", explain)
        counted = studies.totals(s, study), studies.counts(s, study)
        best = [trials.best(s, study, direction) for direction in ("minimize", "maximize")]
    assert (counted, best) == ((studies.Totals({}, 0, {}), {}), [[], []])
    by_state, failed, counts, *ordered = [plan for plan in plans if "trial" in plan]
    assert "COVERING INDEX" in by_state and "COVERING INDEX" in counts
    assert "state=?" in failed
    assert len(ordered) == 2 and all("state=? AND value>? AND value<?" in plan for plan in ordered)


def test_an_owner_that_claims_again_begins_a_new_term(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "one", 60) == 1
        assert studies.claim(s, study, "one", 60) == 2
        assert not studies.renew(s, study, "one", 1, 60, 0.0)


def test_a_released_study_is_free_at_once_and_its_terms_go_on_growing(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "one", 60) == 1
        assert studies.release(s, study, "one", 1)
        assert studies.claim(s, study, "two", 60) == 2


@pytest.mark.parametrize("state", states.STUDY)
def test_only_a_study_that_has_not_ended_can_be_claimed(database: Database, state: str) -> None:
    with database.write() as s:
        study = in_state(s, state, "one")
        claimed = studies.claim(s, study, "me", 60)
        assert (claimed is not None) == (state in states.live(states.STUDY))
        assert studies.runnable(s) == []
        assert [row.id for row in studies.leased(s)] == ([study] if claimed else [])


def test_a_study_leaves_a_state_only_as_the_table_says(database: Database) -> None:
    for source, target in product(states.STUDY, states.terminal(states.STUDY)):
        with database.write() as s:
            study = in_state(s, source, f"{source}-{target}")
            done = studies.finish(s, study, target, "again")
            assert done == (target in states.STUDY[source])
            row = studies.get(s, study)
            assert row.state == (target if done else source)
            if done:
                assert (row.reason, row.owner, row.lease_until) == ("again", None, None)
                assert row.finished_at is not None


@pytest.mark.parametrize("wish", ["paused", "active", "stopping", "cancelling"])
def test_a_wish_is_taken_only_where_the_table_says(database: Database, wish: str) -> None:
    for source in states.STUDY:
        with database.write() as s:
            study = in_state(s, source, source)
            taken = studies.request(s, study, wish)
            assert taken == (wish in states.STUDY[source])
            assert studies.get(s, study).state == (wish if taken else source)


def test_an_edit_grows_the_revision_that_the_owner_sees_and_ends_with_the_study(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "me", 60) == 1
        assert studies.wishes(s, "me") == {study: ("active", 0)}
        assert studies.edit(s, study, {"direction": "minimize", "trials": 9})
        studies.touch(s, study)
        assert studies.request(s, study, "paused")
        assert studies.wishes(s, "me") == {study: ("paused", 2)}
        assert studies.wishes(s, "you") == {}
        row = studies.get(s, study)
        assert (row.definition["trials"], row.body_hash) == (9, "b0d1")
        assert not studies.finish(s, study, "finished", "all are done")  # a person paused it meanwhile
        assert studies.request(s, study, "active")
        assert studies.finish(s, study, "finished", "all are done")
        assert not studies.edit(s, study, {})


def test_why_a_study_waits_is_its_owners_word(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        term = studies.claim(s, study, "me", 60)
        assert term == 1
        studies.explain_waiting(s, study, "you", term, "nonsense")
        assert studies.get(s, study).waits is None
        studies.explain_waiting(s, study, "me", term, "all workers are used")
        assert studies.listing(s)[0].waits == "all workers are used"
        assert studies.release(s, study, "me", term)
        assert studies.get(s, study).waits is None


def test_a_study_does_not_end_as_something_it_cannot_be(database: Database) -> None:
    for state in ("active", "stopping", "done"):
        with pytest.raises(IllegalTransition, match=state), database.write() as s:
            studies.finish(s, rows.study(s), state, "")


def test_an_ended_study_cannot_be_renewed(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        term = studies.claim(s, study, "one", 60)
        assert term == 1
        assert studies.finish(s, study, "finished", "all trials are over")
        assert not studies.renew(s, study, "one", term, 60, 0.0)
        assert not studies.release(s, study, "one", term)


def test_an_ended_study_that_goes_on_has_a_new_term_and_no_end(database: Database) -> None:
    for state in states.STUDY:
        with database.write() as s:
            study = in_state(s, state, state)
            before = studies.get(s, study).revision
            assert studies.reopen(s, study) == (state in states.terminal(states.STUDY))
            row = studies.get(s, study)
            again = state in states.terminal(states.STUDY)
            assert (row.state, row.revision - before) == (("active", 1) if again else (state, 0))
            assert (row.reason, row.finished_at) == (None, None)
    with database.write() as s:
        study = rows.study(s)
        assert studies.claim(s, study, "one", 60) == 1
        assert studies.finish(s, study, "finished", "all trials are over")
        assert studies.reopen(s, study)
        assert not studies.renew(s, study, "one", 1, 60, 0.0), "its coordinator let it go"
        assert [row.name for row in studies.runnable(s)][-1] == "digits"
        assert studies.claim(s, study, "one", 60) == 2
        assert not studies.renew(s, study, "one", 1, 60, 0.0)


def test_a_study_does_not_end_by_a_revision_that_a_person_has_edited(database: Database) -> None:
    with database.write() as s:
        study = rows.study(s)
        seen = studies.get(s, study).revision
        studies.touch(s, study)
        assert not studies.finish(s, study, "finished", "all trials are over", seen)
        assert studies.get(s, study).state == "active"
        assert studies.finish(s, study, "finished", "all trials are over", seen + 1)


def test_the_list_counts_and_knows_the_best(database: Database) -> None:
    with database.write() as s:
        low, high = rows.study(s, "low"), rows.study(s, "high", direction="maximize")
        rows.study(s, "empty")
        for study in (low, high):
            for value in (0.5, math.inf, -math.inf, math.nan, 0.25):
                held = rows.held(s, study)
                assert rows.end(s, held, "complete", value=value)
            held = rows.held(s, study)
            assert rows.end(s, held, "pruned", value=-99.0 if study == low else 99.0)
            rows.held(s, study)
            rows.trial(s, study)
    with database.read() as s:
        found = {entry.name: entry for entry in studies.listing(s)}
        assert studies.counts(s, low) == found["low"].counts
    counts = {"complete": 5, "pruned": 1, "running": 1, "queued": 1}
    assert list(found) == ["low", "high", "empty"]
    assert (found["low"].counts, found["low"].best_value) == (counts, 0.25)
    assert (found["high"].counts, found["high"].best_value) == (counts, 0.5)
    assert (found["empty"].counts, found["empty"].best_value) == ({}, None)
