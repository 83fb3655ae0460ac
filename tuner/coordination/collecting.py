"""Turning one answer of a worker into what it means: trials move in memory, and rows wait to be written.

Nothing is written here and nothing is asked of a database: what a decision needs is in memory, and what comes of
it goes to the rows that the coordinator writes in one transaction before anyone is told.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from db import artifacts, attempts, decisions, reports, trials
from db.failpoints import failpoint
from tuner.coordination import study_log
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.outcomes import Outcome, best_point, interrupted, of_ended, of_lost
from tuner.coordination.tried import Attempt
from tuner.coordination.writing import Rows
from workers.contract import Lost, SliceResult

LEAVE_SECONDS = 8.0  # so long an assignment that leaves may take to its epoch's end; then it ends unsaved


@dataclass(frozen=True)
class Leave:
    """Why an assignment gives its worker back although its trials have not ended."""

    why: str  # a sentence
    by: float  # of the monotonic clock: it is not waited for longer


@dataclass
class Running:
    """An assignment at work: its study, and the attempts that are still in it, by trial number."""

    study: ActiveStudy
    attempts: dict[int, Attempt]
    until: int  # the epoch at which the next decision is due
    ended: set[int] = field(default_factory=set)  # trials that its worker has ended, in answers not looked at yet, too
    dropped: set[int] = field(default_factory=set)  # trials that are over without their worker knowing it yet
    leaves: Leave | None = None  # it gives its worker back
    acknowledged: int = 0  # number of its worker's last answer that is committed

    def leave(self, why: str) -> None:
        """Have its trials saved at the end of their epoch, and queued again. Said once, it stays said."""
        self.leaves = self.leaves or Leave(why, time.monotonic() + LEAVE_SECONDS)

    def goes_on(self, answer: SliceResult) -> bool:
        """Note how far the attempts are; whether one goes on before a decision is due, or before it is saved."""
        for report in answer.reports:
            if report.trial in self.attempts:
                self.attempts[report.trial].epoch = report.epoch
        self.ended |= {item.trial for item in answer.ended}
        going = [attempt for number, attempt in self.attempts.items() if number not in self.ended]
        last = self.until >= self.study.definition.epochs  # no decision there: the worker ends it by itself
        return bool(going) and not answer.held and (last or any(attempt.epoch < self.until for attempt in going))


@dataclass
class Answered:
    """What an answer means for the coordinator's next words to the launcher, once its rows are committed."""

    assignment: str
    decided: bool = False  # a rung was reached and judged: the next slice may be asked for
    number: int = 0  # of the answer; 0: there was none


def collect(running: Running, answer: SliceResult | Lost, rows: Rows) -> Answered:
    """Take in what one answer says about an assignment's attempts, and judge those that stand at a rung.

    Attempts that are over leave the assignment; what is to be written is added to `rows`.
    """
    study, attempts = running.study, running.attempts
    answered = Answered(answer.assignment)
    if isinstance(answer, Lost):
        alone = len(attempts) == 1
        for attempt in _last_first(running):
            _close(running, attempt, of_lost(answer, study.points[attempt.number].failures, alone), rows)
        return answered
    answered.number = answer.number
    _record(running, answer, rows)
    _end(running, answer, rows)
    held = set(attempts)  # those that its worker has not ended by itself
    at_rung = running.until < study.definition.epochs and all(item.taken >= running.until for item in attempts.values())
    if attempts and at_rung:
        answered.decided = True
        for attempt in [item for item in attempts.values() if item.taken == running.until]:
            _judge(running, attempt, rows)
    if answer.held:
        why = running.leaves.why if running.leaves else "A coordinator that is gone had its worker save it and wait."
        _close_all(running, interrupted("queued", why), rows)
    running.dropped |= held - set(attempts)
    return answered


def release(running: Running, assignment: str, outcome: Outcome, rows: Rows) -> Answered:
    """End every attempt of an assignment now, whatever its worker is doing."""
    running.dropped |= set(running.attempts)
    _close_all(running, outcome, rows)
    return Answered(assignment)


def drop(running: Running, numbers: set[int], outcome: Outcome, rows: Rows) -> None:
    """End some of an assignment's attempts; the worker is told with its next slice."""
    for number in sorted(numbers):
        _close(running, running.attempts[number], outcome, rows)
    running.dropped |= numbers


def _close_all(running: Running, outcome: Outcome, rows: Rows) -> None:
    for attempt in _last_first(running):
        _close(running, attempt, outcome, rows)


def _last_first(running: Running) -> list[Attempt]:
    """The attempts as they are to be closed: each goes to the queue's head, and they are to stand there in order."""
    return sorted(running.attempts.values(), key=lambda item: -item.number)


def _record(running: Running, answer: SliceResult, rows: Rows) -> None:
    """Note what was said of the attempts, their reports and artifacts; what is not of this assignment is ignored."""
    study = running.study
    mine = {(attempt.number, attempt.token): attempt.trial_id for attempt in running.attempts.values()}
    for said in answer.trained:
        if trial_id := mine.get((said.trial, said.token)):
            rows.trained.append(attempts.Trained(trial_id, said.token, said.how, answer.worker))
    for item in answer.reports:
        if trial_id := mine.get((item.trial, item.token)):
            running.attempts[item.trial].taken = item.epoch
            value = item.metrics.get(study.definition.objective)
            study.report(item.trial, item.epoch, value, item.seconds)
            rows.reports.append(reports.New(trial_id, item.token, item.epoch, item.metrics, value, item.seconds))
    for saved in answer.saved:
        if trial_id := mine.get((saved.trial, saved.token)):
            study.has_artifacts = True
            kept = artifacts.New(trial_id, saved.token, saved.kind, saved.epoch, saved.key, saved.sha256, saved.bytes)
            rows.artifacts.append(kept)


def _end(running: Running, answer: SliceResult, rows: Rows) -> None:
    """Close the attempts that the worker ended."""
    study, alone = running.study, len(running.attempts) == 1
    for ended in answer.ended:
        attempt = running.attempts.get(ended.trial)
        if attempt is not None and attempt.token == ended.token:
            point = study.points[ended.trial]
            _close(running, attempt, of_ended(ended, point.curve, study.definition, point.failures, alone), rows)


def _close(running: Running, attempt: Attempt, outcome: Outcome, rows: Rows) -> None:
    """End an attempt, and with it its trial unless it is tried again."""
    point = running.study.points[attempt.number]
    if outcome.failure is not None:
        point.failures.append(outcome.failure)
    if outcome.state == "queued":
        failpoint("retry_received")
        point.ready_at = time.monotonic() + outcome.after
        rows.retries.append((attempt, outcome))
    else:
        failpoint("end_received")
        end = trials.End(
            attempt.trial_id,
            attempt.token,
            outcome.state,
            value=outcome.value,
            best_epoch=outcome.best_epoch,
            weights=outcome.weights,
            epochs=len(point.curve),
            cause=outcome.cause,
            message=outcome.message,
            log=outcome.log,
            process_end=outcome.failure.process_end if outcome.failure else None,
        )
        rows.ends.append(end)
    if outcome.state == "failed":
        study_log.trial_failed(running.study.name, attempt.number, outcome.message)
    _leave(running, attempt, outcome.state, outcome.value, outcome.cause if outcome.state == "failed" else None)


def _judge(running: Running, attempt: Attempt, rows: Rows) -> None:
    """Note the decision about an attempt that stands at a rung, and end its trial where it says so."""
    study, trial, token = running.study, attempt.trial_id, attempt.token
    decision = study.decide(attempt.number, attempt.taken)
    noted = decisions.New(
        trial,
        token,
        decision.epoch,
        decision.action,
        decision.rule,
        value=decision.value,
        threshold=decision.threshold,
        rivals=[list(rival) for rival in decision.rivals],
        reason=decision.reason,
    )
    rows.decisions.append(noted)
    if decision.action == "stop":
        curve = study.points[attempt.number].curve
        best, value = best_point(curve, study.definition.direction) or (None, None)
        rows.ends.append(trials.End(trial, token, "pruned", value, best, len(curve), message=decision.reason))
        _leave(running, attempt, "pruned", value)


def _leave(running: Running, attempt: Attempt, state: str, value: float | None, cause: str | None = None) -> None:
    del running.attempts[attempt.number]
    running.study.move(attempt.number, state, value, cause)
