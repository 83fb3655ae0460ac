"""What a step has found out about a study, and how it becomes rows: few statements, however many trials there are."""

from __future__ import annotations

from dataclasses import dataclass, field

from db import artifacts, attempts, decisions, events, reports, trials
from db.engine import Session
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.housekeeping import remove_stale_rows
from tuner.coordination.outcomes import Outcome
from tuner.coordination.tried import Attempt


@dataclass
class Rows:
    """What is to be written about one study. It can be written twice: the second time changes nothing."""

    trained: list[attempts.Trained] = field(default_factory=list)
    reports: list[reports.New] = field(default_factory=list)
    artifacts: list[artifacts.New] = field(default_factory=list)
    decisions: list[decisions.New] = field(default_factory=list)
    ends: list[trials.End] = field(default_factory=list)
    retries: list[tuple[Attempt, Outcome]] = field(default_factory=list)  # attempts whose trials are queued again
    cancels: list[int] = field(default_factory=list)  # numbers of queued trials that a person wants to end
    starts: list[tuple[int, ...]] = field(default_factory=list)  # numbers of trials; each group gets a worker

    def __bool__(self) -> bool:
        return any(vars(self).values())


def write(s: Session, study: ActiveStudy, rows: Rows) -> bool:
    """Write all but the starts. False: an attempt was not the current one any more, so its part was left out."""
    said = {(item.trial_id, item.token) for item in rows.reports}
    taken = not said or reports.add(s, rows.reports) == said
    attempts.say_trained(s, rows.trained)
    if rows.artifacts:
        artifacts.add(s, rows.artifacts)
    if rows.decisions:
        decisions.add(s, rows.decisions)
    taken &= trials.end(s, rows.ends) == len(rows.ends)
    for attempt, outcome in rows.retries:
        cause, process_end = outcome.failure or ("cancelled", None)
        end = trials.End(
            attempt.trial_id,
            attempt.token,
            "queued",
            cause=cause,
            message=outcome.message,
            log=outcome.log,
            process_end=process_end,
        )
        if trials.requeue(s, end, outcome.after):
            events.add(s, "trial_retried", study_id=study.id, trial_id=attempt.trial_id, cause=cause)
        else:
            taken = False
    if rows.cancels:
        trials.cancel_queued(s, study.id, rows.cancels)
    return taken


def tidy(s: Session, study: ActiveStudy, rows: Rows) -> list[str]:
    """Forget the artifacts that nobody will ask for any more. Returns their keys, for after the commit."""
    ended = rows.ends or rows.cancels
    if ended and study.has_artifacts:
        return remove_stale_rows(s, study.id, study.definition)
    saved = {item.trial_id for item in rows.artifacts if item.kind == "checkpoint"}
    return sorted(artifacts.remove_superseded(s, saved))  # of these trials alone: one is saved every few seconds
