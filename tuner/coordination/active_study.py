"""One study in a coordinator's hands: what its rows say, kept in memory between two steps.

Everything here can be rebuilt from rows, and is: after a crash the next coordinator reads the same rows and
proposes the same points. Nothing here writes.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from itertools import islice, takewhile

from db import attempts, reports, states, studies, trials
from db.engine import Session
from db.tables import Study
from tuner.coordination import study_log
from tuner.coordination.budgets import ActiveTime, Budget, Progress
from tuner.coordination.outcomes import Failure, company, losses
from tuner.coordination.repeats import numbers_of, of_repeats
from tuner.coordination.standing import Standing
from tuner.coordination.study_sampler import StudySampler
from tuner.coordination.tried import Attempt, Point
from tuner.definitions.definition import StudyDefinition
from tuner.errors import InvalidStudy
from tuner.pruners.audit import audited, spared
from tuner.pruners.stopping import Decision, rule
from tuner.samplers.costs import cost_of
from tuner.samplers.sampling import Observation, Proposal
from workers import collector


class ActiveStudy:
    """A claimed study: its definition, its trials' points, its queue and its running attempts."""

    def __init__(self, row: Study, term: int, points: Iterable[Point]) -> None:
        self.id, self.name, self.term = row.id, row.name, term
        self.origin = origin(row)
        self.state, self.revision = row.state, row.revision  # what its people want, as last seen
        self.to_cancel: set[int] = set()  # numbers of the trials that a person wants to end
        self.import_paths: tuple[str, ...] = ()  # where its workers import the user's code from, told by its claim
        self.waits = row.waits  # why none of its trials runs, as its row says
        definition = self.definition = StudyDefinition.from_json(row.definition)
        if definition.space is None:
            raise ValueError(f"Study {row.name!r} was stored without its search space.")
        self.space = definition.space
        self.together = definition.together(row.checked)
        self.liftable = definition.liftable(row.checked.get("liftable", ()))
        self.sampler = StudySampler(self.space, definition, cost_of(self.space, row.checked.get("data", {})))
        limits = {name: getattr(definition, name) for name in ("epochs", "direction", "seed", "grace", "eta")}
        self.rule = rule(definition.pruner, **limits)
        self.budget = Budget.of(definition)
        self._standing = Standing(definition)
        self.points, self.configurations = self._standing.points, self._standing.configurations
        self.queue: deque[int] = deque()  # numbers of trials that have a row and wait for a worker
        self.proposed: deque[tuple[int, Proposal]] = deque()  # proposals that have no row yet
        self.running: dict[int, Attempt] = {}
        self.has_artifacts = False  # whether housekeeping has anything to look at
        self._time = ActiveTime(row.active_seconds, paused=self.state == "paused")
        for known in points:
            self.add(known)

    @classmethod
    def load(cls, s: Session, row: Study, term: int) -> ActiveStudy:
        """Rebuild a study from its rows. Trials that are running on paper do run: requeue the others first."""
        with collector.paused():  # among 100,000 trials that all stay it would take a third of the time
            curves = reports.objectives(s, row.id)
            points = {known[0]: Point(*known, curves.get(known[0], {})) for known in trials.points(s, row.id)}
            for number, causes in trials.causes(s, row.id).items():
                points[number].failures = [Failure(*cause) for cause in causes]
            for number, delay in trials.delayed(s, row.id).items():
                points[number].ready_at = time.monotonic() + delay
            study, reached = cls(row, term, points.values()), attempts.reached(s, row.id)
        running = trials.running(s, row.id)
        study.running = {item.number: Attempt(item.id, item.number, item.token, reached[item.id]) for item in running}
        study.to_cancel = trials.to_cancel(s, row.id)
        study.has_artifacts = bool(points)
        return study

    # --- what its people want -------------------------------------------------------------------------------------

    def heed(self, s: Session, state: str, revision: int) -> None:
        """Take note of a verb, and read again what a person may edit where that has changed.

        What a newer version edited may not be readable here: the study goes on as it was.
        """
        self.state = state
        self._time.pause(state == "paused")
        if revision != self.revision:
            row = studies.get(s, self.id)
            self.revision, self.to_cancel = row.revision, trials.to_cancel(s, self.id)
            try:
                self.definition = StudyDefinition.from_json(row.definition)
            except InvalidStudy as error:
                study_log.edit_ignored(self.name, error)
            self.together = self.definition.together(row.checked)
            self.budget = Budget.of(self.definition)

    # --- points -------------------------------------------------------------------------------------------------

    def add(self, point: Point) -> None:
        """Take a trial that has a row into account."""
        self._standing.add(point)
        for epoch in point.curve:
            self._tell_rule(point.number, epoch)
        if point.state == "queued":
            self.queue.append(point.number)
        self.sampler.observe(self._standing.digest(point))

    def move(self, number: int, state: str, value: float | None = None, cause: str | None = None) -> None:
        """Record that a trial's row changed its state."""
        point = self.points[number]
        if point.state == "queued":
            self.queue.remove(number)
        self._standing.move(point, state, value, cause)
        if state == "queued":
            self.queue.appendleft(number)
        if state != "running":
            self.running.pop(number, None)
        self.sampler.observe(self._standing.digest(point))

    def report(self, number: int, epoch: int, value: float | None, seconds: float) -> None:
        """Record one epoch. Saying the same epoch again changes nothing but its value."""
        point = self.points[number]
        if epoch not in point.curve:
            self._standing.epochs += 1
            point.seconds += seconds
        point.curve[epoch] = float("nan") if value is None else value
        self._tell_rule(number, epoch)

    def _tell_rule(self, number: int, epoch: int) -> None:
        first = self.configurations.first(number)
        if self.rule.due(first, epoch):
            self.rule.observe(first, epoch, self.configurations.value_at(number, epoch))

    # --- what to do next ----------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        """What the budgets are compared with."""
        return self._standing.progress(self.active_seconds, len(self.proposed))

    @property
    def active_seconds(self) -> float:
        """Seconds during which the study had a coordinator and was not paused, this one's time included."""
        return self._time.seconds

    @property
    def counts(self) -> dict[str, int]:
        """Number of trials per state."""
        return {state: count for state, count in self._standing.states.items() if count}

    @property
    def best(self) -> tuple[int, float] | None:
        """Number of the best trial, and the objective (a mean with repeats); None while there is none."""
        return self._standing.best

    @property
    def halted(self) -> bool:
        """Whether not even a queued trial may start: a person asked for it, or too many trials failed."""
        return self.state != "active" or self.budget.failed(self.progress()) is not None

    @property
    def over(self) -> bool:
        """Whether nothing of the study is running, and nothing waits that may still start. A paused one may go on."""
        waits = bool(self.queue or self.proposed or self._unproposed)
        return self.state != "paused" and not self.running and (self.halted or not waits)

    @property
    def _unproposed(self) -> int:
        """Repeats of the last configuration that a coordinator which went away had proposed and left without a row."""
        return -(len(self.points) + len(self.proposed)) % self.definition.repeats

    @property
    def final_state(self) -> str:
        """The state the study ends in."""
        if wanted := states.ON_REQUEST.get(self.state):
            return wanted
        progress = self.progress()
        short = self.sampler.failure is not None and not self.budget.exhausted(progress)
        return "failed" if short or self.budget.failed(progress) else "finished"

    def waiting(self, skip: int, now: float) -> tuple[int, ...]:
        """Numbers of the trials that a worker gets next when `skip` others were picked before; empty: there are none.

        Queued trials come first, then proposals; new ones are asked for when both are used up. Trials whose worker was
        lost are given to several workers, apart from others: one that ends its worker is soon alone.
        """
        if self.halted:
            return ()
        together, ready = self.together, self.ready(now)
        if queued := ready[skip : skip + together]:
            lost = losses(self.points[queued[0]].failures)
            alike = takewhile(lambda number: losses(self.points[number].failures) == lost, queued)
            return tuple(islice(alike, company(together, lost)))
        ahead = max(0, skip - len(ready))
        if ahead >= len(self.proposed):
            self.propose()
        return tuple(number for number, _ in list(self.proposed)[ahead : ahead + together])

    def ready(self, now: float) -> list[int]:
        """Numbers of the queued trials that need not wait longer before they are tried again."""
        return [number for number in self.queue if self.points[number].ready_at <= now]

    def proposal(self, number: int) -> Proposal:
        """The proposal that has no row yet under this number."""
        return dict(self.proposed)[number]

    def start(self, attempt: Attempt) -> None:
        """Record that a trial has a row, a token and a worker."""
        number = attempt.number
        if number not in self.points:
            proposal = self.proposal(number)
            self.proposed = deque(item for item in self.proposed if item[0] != number)
            self.add(Point(number, proposal.params, proposal.notes, "running"))
        self.move(number, "running")
        self.running[number] = attempt

    def ending(self) -> str | None:
        """Why no new trial may start; None while one may."""
        if wanted := states.ON_REQUEST.get(self.state):
            return f"{wanted} on request"
        sampler, progress = self.sampler, self.progress()
        limit = self.budget.failed(progress) or self.budget.exhausted(progress)
        return limit or sampler.failure or sampler.exhausted

    def propose(self) -> None:
        """Put what a worker gets next in `proposed`, unless the study is ending or the sampler has no more points.

        A configuration that has begun gets all its repeats, whatever the budgets say: without them it is worth nothing.
        """
        number, repeats = len(self.points) + len(self.proposed), self.definition.repeats
        if missing := self._unproposed:
            begun = self.points[number - 1]
            self.proposed.extend((number + k, Proposal(begun.params, begun.notes)) for k in range(missing))
            return
        if self.ending() is not None:
            return
        first, size = number // repeats, max(1, self.together // repeats)
        size = min(size, self.definition.trials // repeats - first)
        given = [Proposal(params) for params in self.definition.enqueue[first : first + size]]
        proposals = given or self.sampler.propose_together(first, size, self.liftable)
        for following, proposal in enumerate(proposals, first):
            self.proposed.extend((trial, proposal) for trial in numbers_of(following, repeats))
            self.sampler.observe(Observation(following, "running", proposal.params, None, {}, proposal.notes))

    def until(self, attempt: Attempt) -> int:
        """The epoch at which the next decision about a trial is due."""
        return self.rule.next_rung(self.configurations.first(attempt.number), attempt.epoch)

    def decide(self, number: int, epoch: int) -> Decision:
        """Whether a trial that stands at a rung goes on. The repeats of a configuration are judged by their mean."""
        known = self.configurations
        first = known.first(number)
        decision = self.rule.decide(first, epoch, known.curve(number))
        if audited(self.definition.seed, first // self.definition.repeats, self.definition.audit):
            decision = spared(decision)
        if self.definition.repeats == 1:
            return decision
        return of_repeats(decision, known.lost(number))


def origin(row: Study) -> str:
    """What tells a study from one of the same name in another database."""
    return f"{row.id} of {row.created_at}"
