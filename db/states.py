"""The state machine: one table of transitions per kind of row. Guards of every statement are derived from it.

    study     active ◄──► paused            stopping and cancelling may follow on active and paused
                 │
                 ├──► stopping ──► stopped          no new trial; running ones are finished
                 │       │
                 │       ▼
                 ├──► cancelling ──► cancelled      running trials end now
                 │
                 └──► finished | failed             stopping may still become either

              stopped | cancelled | finished | failed ──► active     when a person lets it go on

                 ┌──── retry ─────┐
                 ▼                │
    trial     queued ─────────► running ──► complete | pruned | failed | cancelled
                 │
                 └────────────► cancelled

    version   staging ──► ready | failed           (a model version that is being promoted)

A state with no way out is terminal. A trial's and a version's is never left, a study's only as a whole, by a person:
the study is active again (`db.studies.reopen`), and claimed anew. A person's verb writes `paused`, `active`, `stopping`
or `cancelling`, at any moment; the study's coordinator sees it within a second, and it alone writes how a study ends.
One that no coordinator has, and that the one which looks cannot run, is ended by that one where a person asked for it.
"""

from __future__ import annotations

from collections.abc import Mapping

from db.errors import IllegalTransition

Table = Mapping[str, tuple[str, ...]]

STUDY: Table = {
    "active": ("paused", "stopping", "cancelling", "finished", "failed"),
    "paused": ("active", "stopping", "cancelling"),
    "stopping": ("cancelling", "stopped", "finished", "failed"),
    "cancelling": ("cancelled",),
    "stopped": (),
    "cancelled": (),
    "finished": (),
    "failed": (),
}

TRIAL: Table = {
    "queued": ("running", "cancelled"),
    "running": ("queued", "complete", "pruned", "failed", "cancelled"),
    "complete": (),
    "pruned": (),
    "failed": (),
    "cancelled": (),
}

VERSION: Table = {
    "staging": ("ready", "failed"),
    "ready": (),
    "failed": (),
}

REOPENED = "active"
"""What a study that has ended becomes when a person lets it go on. Not in its table: no other statement may do it."""

ON_REQUEST = {"stopping": "stopped", "cancelling": "cancelled"}
"""How a study ends that a person wants to end, by the state that says so."""


def sources(table: Table, target: str) -> tuple[str, ...]:
    """States from which `target` may be entered. Raises IllegalTransition where there is none."""
    allowed = tuple(state for state, targets in table.items() if target in targets)
    if not allowed:
        raise IllegalTransition(f"No state leads to {target!r}; the states that can be entered are {_entered(table)}.")
    return allowed


def require(table: Table, source: str, target: str) -> None:
    """Raise IllegalTransition unless `source` may become `target`."""
    if target not in table.get(source, ()):
        known = ", ".join(table.get(source, ())) or "nothing"
        raise IllegalTransition(f"A row in state {source!r} cannot become {target!r}, only {known}.")


def require_terminal(table: Table, state: str) -> None:
    """Raise IllegalTransition unless `state` is one in which a row can end."""
    if state not in terminal(table):
        raise IllegalTransition(f"Nothing ends as {state!r}, only as {', '.join(terminal(table))}.")


def terminal(table: Table) -> tuple[str, ...]:
    """States in which a row has ended."""
    return tuple(state for state, targets in table.items() if not targets)


def live(table: Table) -> tuple[str, ...]:
    """States that are not terminal."""
    return tuple(state for state, targets in table.items() if targets)


def _entered(table: Table) -> str:
    return ", ".join(sorted({target for targets in table.values() for target in targets}))
