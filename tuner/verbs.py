"""What a person may ask of a study while any process runs it: pause, resume, stop, cancel, other limits.

A wish is a row. The study's coordinator sees it within a second and acts; where there is none, the next one does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from db import events, states, studies, trials
from db.engine import Database, Session
from db.tables import Study
from tuner.definitions.definition import StudyDefinition
from tuner.definitions.study_form import EDITABLE, read_edit
from tuner.errors import InvalidInput, UnknownName

OVER = states.terminal(states.STUDY)
"""States in which a study has ended."""


@dataclass(frozen=True)
class Verb:
    """Something that can be asked of a study."""

    wish: str  # the state that is written
    done: tuple[str, ...]  # states in which there is nothing left to do
    participle: str


PAUSE = Verb("paused", ("paused",), "paused")
RESUME = Verb("active", ("active",), "resumed")
STOP = Verb("stopping", ("stopping", *OVER), "stopped")
CANCEL = Verb("cancelling", ("cancelling", *OVER), "cancelled")


def ask(database: Database, name: str, verb: Verb) -> bool:
    """Ask a study's coordinator for something. False: it is so already, and nothing was changed.

    Raises:
        UnknownName: there is no such study.
        InvalidInput: the study ends or has ended, and cannot be paused or resumed.
    """
    with database.write() as s:
        row = _study(s, name)
        if row.state in verb.done:
            return False
        if not studies.request(s, row.id, verb.wish):
            how = f"is {row.state} already" if row.state in OVER else f"is {row.state}, which ends it"
            raise InvalidInput(f"Study {name!r} {how}: it cannot be {verb.participle}.")
        events.add(s, "study_asked", study_id=row.id, wish=verb.wish, was=row.state)
        return True


def cancel_trial(database: Database, name: str, number: int) -> bool:
    """Ask a study's coordinator to end a trial now. False: it has ended already, or was asked to.

    Raises:
        UnknownName: there is no such study.
        InvalidInput: the study has no such trial.
    """
    with database.write() as s:
        row = _study(s, name)
        trial = trials.get(s, row.id, number)
        if trial is None:
            raise InvalidInput(f"Study {name!r} has no trial {number}. List them: tuner trial list {name}")
        if trial.cancel_at is not None or not trials.request_cancel(s, row.id, number):
            return False
        studies.touch(s, row.id)
        events.add(s, "trial_asked", study_id=row.id, trial_id=trial.id, wish="cancelled", was=trial.state)
        return True


def edit(database: Database, name: str, changes: Mapping[str, Any]) -> StudyDefinition:
    """Change a study's share or limits, also while it runs. Returns its definition as it is now.

    Args:
        changes: fields of `study_form.EDITABLE` with their new values; None takes a limit away.

    Raises:
        UnknownName: there is no such study.
        InvalidInput: the study has ended, or a value cannot be used: one sentence each.
    """
    with database.write() as s:
        row = _study(s, name)
        before = StudyDefinition.from_json(row.definition)
        given = {field: getattr(before, field) for field in EDITABLE} | dict(changes)
        after = replace(before, **read_edit(given, before.to_json().keys()))
        if row.state in OVER:
            raise InvalidInput(f"Study {name!r} is {row.state} already: nothing of it can be changed.")
        fewest = max(sum(studies.counts(s, row.id).values()), len(after.enqueue) * after.repeats)
        if after.trials < fewest:
            raise InvalidInput(
                f"`trials` is {after.trials}, and the study has {fewest} already. "
                f"To start no more: tuner study stop {name}"
            )
        if after.trials % after.repeats:
            raise InvalidInput(
                f"`trials` is {after.trials}; expected a multiple of `repeats`, which is {after.repeats}."
            )
        if before.differences(after):
            studies.edit(s, row.id, after.to_json())
            changed = {field: getattr(after, field) for field in EDITABLE}
            events.add(s, "study_edited", study_id=row.id, **{k: changed[k] for k in changes})
        return after


def _study(s: Session, name: str) -> Study:
    row = studies.find(s, name, lock=True)
    if row is None:
        raise UnknownName("study", name, studies.names(s))
    return row
