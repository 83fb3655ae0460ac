"""What a person may ask of a study while any process runs it: pause, resume, stop, cancel, other limits.

A wish is a row. The study's coordinator sees it within a second and acts; where there is none, the next one does.
A study that has ended goes on when it is resumed, or given other limits, and has something to do within its limits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from db import events, states, studies, trials
from db.engine import Database, Session
from db.tables import Study
from tuner.coordination.budgets import Budget
from tuner.coordination.standing import read_progress
from tuner.definitions.agreement import uneven
from tuner.definitions.defaults import usual_failures
from tuner.definitions.definition import StudyDefinition
from tuner.definitions.study_form import EDITABLE, LIMITS, read_edit
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
        InvalidInput: the study ends or has ended, and cannot be paused or resumed; or it has used up its limits.
    """
    with database.write() as s:
        row = _study(s, name)
        if row.state in verb.done:
            return False
        if verb is RESUME and row.state in OVER:
            definition = StudyDefinition.from_json(row.definition)
            _require_something_to_do(s, row, definition)
            _reopen(s, row)
            return True
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


@dataclass(frozen=True)
class Edited:
    """What an edit has led to."""

    definition: StudyDefinition  # as it is now
    changes: dict[str, Any]  # the fields that were named, with their new values, and `max_failures` where it followed
    reopened: str | None  # the state in which the study had ended; None: it had not


def edit(database: Database, name: str, changes: Mapping[str, Any]) -> Edited:
    """Change a study's share or limits, also while it runs. One that has ended goes on where its limits now let it.

    Args:
        changes: fields of `study_form.EDITABLE` with their new values; None takes a limit away. Where `max_failures`
            is what it is by default, it follows `trials`.

    Raises:
        UnknownName: there is no such study.
        InvalidInput: a value cannot be used, one sentence each; or the study has ended, and would have nothing to do.
    """
    with database.write() as s:
        row = _study(s, name)
        before = StudyDefinition.from_json(row.definition)
        after = _edited(before, changes)
        _check_trials(s, row, after)
        reopened = row.state if row.state in OVER else None
        if reopened:
            _require_something_to_do(s, row, after)
            if all(getattr(before, field) == getattr(after, field) for field in LIMITS):
                raise InvalidInput(
                    f"Study {name!r} is {row.state}, and its limits stay as they are. "
                    f"To let it go on: tuner study resume {name}"
                )
            _reopen(s, row)
        changed = [*changes, *(field for field in LIMITS if getattr(before, field) != getattr(after, field))]
        told = {field: getattr(after, field) for field in changed}
        if before != after:
            studies.edit(s, row.id, after.to_json())
            events.add(s, "study_edited", study_id=row.id, **told)
        return Edited(after, told, reopened)


def _edited(before: StudyDefinition, changes: Mapping[str, Any]) -> StudyDefinition:
    given = {field: getattr(before, field) for field in EDITABLE}
    if before.max_failures == usual_failures(before.trials):
        given["max_failures"] = None
    return replace(before, **read_edit(given | dict(changes), before.to_json().keys()))


def _check_trials(s: Session, row: Study, after: StudyDefinition) -> None:
    fewest = max(sum(studies.counts(s, row.id).values()), len(after.enqueue) * after.repeats)
    if after.trials < fewest:
        raise InvalidInput(
            f"`trials` is {after.trials}, and the study has {fewest} already. "
            f"To start no more: tuner study stop {row.name}"
        )
    if after.trials % after.repeats:
        raise InvalidInput(uneven(after.trials, after.repeats, after.folds))


def _require_something_to_do(s: Session, row: Study, definition: StudyDefinition) -> None:
    """Refuse to let a study that has ended go on where it would end at once: say which limits are used up."""
    used_up = Budget.of(definition).used_up(read_progress(s, row, definition))
    if used_up:
        why = " ".join(limit.sentence for limit in used_up)
        changes = " ".join(f"{limit.field}=VALUE" for limit in used_up)
        raise InvalidInput(
            f"Study {row.name!r} is {row.state} and has nothing left to do. {why} "
            f"To let it go on: tuner study set {row.name} {changes}"
        )


def _reopen(s: Session, row: Study) -> None:
    events.add(s, "study_reopened", study_id=row.id, was=row.state, reason=row.reason)
    studies.reopen(s, row.id)


def _study(s: Session, name: str) -> Study:
    row = studies.find(s, name, lock=True)
    if row is None:
        raise UnknownName("study", name, studies.names(s))
    return row
