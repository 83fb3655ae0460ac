"""The state machine is one table; everything else about it is derived, and checked here for every pair of states."""

from __future__ import annotations

from itertools import product

import pytest

from db import states
from db.errors import IllegalTransition

TABLES = {"study": states.STUDY, "trial": states.TRIAL, "version": states.VERSION}

LEGAL = {
    "study": {
        ("active", "paused"), ("active", "stopping"), ("active", "cancelling"), ("active", "finished"),
        ("active", "failed"),
        ("paused", "active"), ("paused", "stopping"), ("paused", "cancelling"),
        ("stopping", "cancelling"), ("stopping", "stopped"), ("stopping", "finished"), ("stopping", "failed"),
        ("cancelling", "cancelled"),
    },
    "trial": {
        ("queued", "running"), ("queued", "cancelled"),
        ("running", "queued"), ("running", "complete"), ("running", "pruned"), ("running", "failed"),
        ("running", "cancelled"),
    },
    "version": {("staging", "ready"), ("staging", "failed")},
}  # fmt: skip
"""Written out a second time on purpose: a transition that is added or lost must be meant."""


@pytest.mark.parametrize("kind", TABLES)
def test_exactly_the_legal_transitions_are_allowed(kind: str) -> None:
    table = TABLES[kind]
    for source, target in product(table, repeat=2):
        if (source, target) in LEGAL[kind]:
            states.require(table, source, target)
            assert source in states.sources(table, target)
        else:
            with pytest.raises(IllegalTransition, match=repr(source)):
                states.require(table, source, target)


@pytest.mark.parametrize("kind", TABLES)
def test_terminal_states_are_never_left_and_every_state_can_end(kind: str) -> None:
    table = TABLES[kind]
    assert set(states.terminal(table)) | set(states.live(table)) == set(table)
    assert not set(states.terminal(table)) & set(states.live(table))
    for target in table:
        if any(target in targets for targets in table.values()):
            assert not set(states.sources(table, target)) & set(states.terminal(table))
    for state in table:
        reached = {state}
        while more := {target for known in reached for target in table[known]} - reached:
            reached |= more
        assert reached & set(states.terminal(table)), f"{state} can never end"


@pytest.mark.parametrize("kind", TABLES)
def test_only_terminal_states_end_a_row(kind: str) -> None:
    table = TABLES[kind]
    for state in states.terminal(table):
        states.require_terminal(table, state)
    for state in (*states.live(table), "unheard-of"):
        with pytest.raises(IllegalTransition, match=states.terminal(table)[0]):
            states.require_terminal(table, state)


def test_a_state_that_nothing_leads_to_has_no_sources() -> None:
    for table, state in ((states.VERSION, "staging"), (states.STUDY, "unheard-of")):
        with pytest.raises(IllegalTransition, match=state):
            states.sources(table, state)
    with pytest.raises(IllegalTransition, match="nothing"):
        states.require(states.TRIAL, "unheard-of", "running")


def test_the_drawing_shows_every_state() -> None:
    for state in {state for table in TABLES.values() for state in table}:
        assert state in (states.__doc__ or "")
