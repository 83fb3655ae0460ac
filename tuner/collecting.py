"""Turning one answer of a worker into rows: reports, artifacts, decisions and ends, all in the caller's transaction.

Nothing in memory changes here except the curves, where saying the same thing twice is harmless: if the
transaction fails, or its acknowledgement is lost, the same answer is digested again and gives the same rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from db import artifacts, decisions, events, reports, trials
from db.engine import Session
from tuner.active_study import FINISHED, ActiveStudy, Attempt
from tuner.outcomes import Outcome, best_point, of_ended, of_lost
from workers.contract import Lost, SliceResult


@dataclass
class Collected:
    """What a committed answer means for the coordinator's next words to the launcher."""

    assignment: str
    study: int
    moves: dict[int, tuple[str, float | None]] = field(default_factory=dict)  # trial number -> new state, value
    ended: set[int] = field(default_factory=set)  # the worker is done with these by itself
    stale: set[int] = field(default_factory=set)  # no longer this coordinator's
    decided: bool = False  # a rung was reached and judged: the next slice may be asked for
    saved: bool = False  # artifacts were added


def collect(
    s: Session, study: ActiveStudy, attempts: Mapping[int, Attempt], until: int, answer: SliceResult | Lost
) -> Collected:
    """Write what one answer says about an assignment's attempts, and judge those that stand at a rung."""
    collected = Collected(answer.assignment, study.id)
    if isinstance(answer, Lost):
        for attempt in attempts.values():
            collected.ended.add(attempt.number)
            outcome = of_lost(answer, _earlier_causes(s, attempt))
            _close(s, study, attempt, outcome, collected)
        return collected
    for attempt in attempts.values():
        _record(s, study, attempt, answer, collected)
    for ended in answer.ended:
        attempt = attempts.get(ended.trial)  # type: ignore[assignment]
        if attempt is None or ended.token != attempt.token:
            continue
        collected.ended.add(attempt.number)
        if attempt.number not in collected.stale:
            earlier = _earlier_causes(s, attempt) if ended.cause is not None else ()
            outcome = of_ended(ended, study.points[attempt.number].curve, study.definition, earlier)
            _close(s, study, attempt, outcome, collected)
    going = [attempt for number, attempt in attempts.items() if number not in collected.ended | collected.stale]
    if going and until < study.definition.epochs and all(attempt.epoch >= until for attempt in going):
        collected.decided = True
        for attempt in going:
            _judge(s, study, attempt, collected)
    return collected


def _record(s: Session, study: ActiveStudy, attempt: Attempt, answer: SliceResult, collected: Collected) -> None:
    """Store an attempt's reports and artifacts, unless its token is no longer the trial's."""
    objective = study.definition.objective
    mine = [item for item in answer.reports if (item.trial, item.token) == (attempt.number, attempt.token)]
    rows = [(item.epoch, item.metrics, item.metrics.get(objective), item.seconds) for item in mine]
    if rows and not reports.add(s, attempt.trial_id, attempt.token, rows):
        if trials.get_by_id(s, attempt.trial_id).token != attempt.token:
            collected.stale.add(attempt.number)
            return
    for epoch, _, value, seconds in rows:
        study.report(attempt.number, epoch, value, seconds)
    for saved in answer.saved:
        if (saved.trial, saved.token) == (attempt.number, attempt.token):
            artifacts.add(
                s,
                attempt.trial_id,
                attempt.token,
                kind=saved.kind,
                epoch=saved.epoch,
                key=saved.key,
                sha256=saved.sha256,
                bytes=saved.bytes,
            )
            collected.saved = True


def _close(s: Session, study: ActiveStudy, attempt: Attempt, outcome: Outcome, collected: Collected) -> None:
    """End an attempt, and with it its trial unless it is tried again."""
    if outcome.state == "queued":
        message = {"cause": outcome.cause or "node_lost", "message": outcome.message, "log": outcome.log}
        done = trials.requeue(s, attempt.trial_id, attempt.token, **message)
        state = "queued"
        events.add(s, "trial_retried", study_id=study.id, trial_id=attempt.trial_id, cause=outcome.cause)
    else:
        state = outcome.state
        done = trials.end(
            s,
            attempt.trial_id,
            attempt.token,
            state,
            value=outcome.value,
            best_epoch=outcome.best_epoch,
            epochs=len(study.points[attempt.number].curve),
            cause=outcome.cause,
            message=outcome.message,
            log=outcome.log,
        )
    _move(s, attempt, state if done else None, outcome.value, collected)


def _move(s: Session, attempt: Attempt, state: str | None, value: float | None, collected: Collected) -> None:
    """Note a trial's new state; where the write changed nothing, find out whether it had been ours before."""
    if state is None:
        row = trials.get_by_id(s, attempt.trial_id)
        if row.token != attempt.token or row.state not in (*FINISHED, "queued"):
            collected.stale.add(attempt.number)
            return
        state, value = row.state, row.value
    collected.moves[attempt.number] = (state, value)


def _judge(s: Session, study: ActiveStudy, attempt: Attempt, collected: Collected) -> None:
    """Store the decision about an attempt that stands at a rung, and end its trial where it says so."""
    decision = study.decide(attempt.number, attempt.epoch)
    decisions.add(
        s,
        attempt.trial_id,
        attempt.token,
        epoch=decision.epoch,
        action=decision.action,
        rule=decision.rule,
        value=decision.value,
        threshold=decision.threshold,
        rivals=[list(rival) for rival in decision.rivals],
        reason=decision.reason,
    )
    if decision.action != "stop":
        return
    curve = study.points[attempt.number].curve
    best = best_point(curve, study.definition.direction)
    epoch, value = best if best is not None else (None, None)
    done = trials.end(
        s,
        attempt.trial_id,
        attempt.token,
        "pruned",
        value=value,
        best_epoch=epoch,
        epochs=len(curve),
        message=decision.reason,
    )
    _move(s, attempt, "pruned" if done else None, value, collected)


def _earlier_causes(s: Session, attempt: Attempt) -> list[str]:
    return [item.cause for item in trials.attempts(s, attempt.trial_id) if item.cause and item.token != attempt.token]
