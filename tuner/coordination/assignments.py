"""The assignments at work: what their workers answered, and what their workers are to be told once it is committed."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Mapping

from db.failpoints import failpoint
from tuner.configuration import Settings
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.claiming import Begun, assign
from tuner.coordination.collecting import Answered, Running, collect, drop, release
from tuner.coordination.outcomes import interrupted
from tuner.coordination.writing import Rows
from workers.contract import Assignment, Launcher, LauncherError, Lost, SliceResult

SLICE_SECONDS = 1.0  # what a worker is asked to train before it answers

Unwritten = Mapping[int, Rows]
"""What was found out about each study, by its id, and is not committed yet."""


class Assignments:
    """Every assignment of one coordinator that a worker holds, by the assignment's id.

    Args:
        launcher: where they run.
        settings: what a worker has to know: where artifacts go.
    """

    def __init__(self, launcher: Launcher, settings: Settings) -> None:
        self._launcher, self._settings = launcher, settings
        self._running: dict[str, Running] = {}
        self._answers: deque[SliceResult | Lost] = deque()  # received, not looked at yet
        self._answered: list[Answered] = []  # what they mean for the launcher, not committed yet
        self._due: deque[Answered | Begun] = deque()  # committed: what the launcher is to be told

    @property
    def running(self) -> list[Running]:
        """Those at work, the oldest first."""
        return list(self._running.values())

    # --- hearing --------------------------------------------------------------------------------------------------

    def receive(self, seconds: float) -> None:
        """Hear the workers, and ask for the next slice before the last one is digested, so that they do not idle."""
        answers = self._launcher.poll(seconds)
        self._answers += answers
        for answer in answers:
            running = self._running.get(answer.assignment)
            if running is not None and isinstance(answer, SliceResult) and running.goes_on(answer):
                self._advance(answer.assignment, running)

    def collect(self, unwritten: Unwritten) -> None:
        """Take in what the workers answered. All of it stays in memory until it is written."""
        self.receive(0.0)
        if self._answers:
            failpoint("reports_received")
        while self._answers:
            answer = self._answers.popleft()
            running = self._running.get(answer.assignment)
            if running is not None:
                self._answered.append(collect(running, answer, unwritten[running.study.id]))

    def follow_wishes(self, unwritten: Unwritten) -> None:
        """End what a person wants to end, and let go of what is to leave."""
        for name, running in self._running.items():
            study, rows = running.study, unwritten[running.study.id]
            if study.state == "cancelling" and running.attempts:
                over = interrupted("cancelled", "The study was cancelled.")
                self._answered.append(release(running, name, over, rows))
                continue
            if wanted := study.to_cancel & running.attempts.keys():
                drop(running, wanted, interrupted("cancelled", "The trial was cancelled."), rows)
                if not running.attempts:
                    self._answered.append(Answered(name))
            if running.attempts and study.state == "paused":
                running.leave("The study was paused.")
            if running.attempts and running.leaves and time.monotonic() > running.leaves.by:
                self._answered.append(release(running, name, interrupted("queued", running.leaves.why), rows))

    def adopt(self, study: ActiveStudy, assignment: Assignment) -> None:
        """Go on with what a coordinator that is gone had begun, or stop it where nothing of it runs on paper."""
        members = {member.trial: member.token for member in assignment.members}
        attempts = {number: item for number, item in study.running.items() if members.get(number) == item.token}
        self._launcher.adopt(assignment)
        if not attempts:
            self._launcher.stop(assignment.id)
            return
        running = Running(study, attempts, min(map(study.until, attempts.values())), set(members) - set(attempts))
        self._running[assignment.id] = running
        self._advance(assignment.id, running)

    def dismiss(self, assignment: Assignment) -> None:
        """Stop what a coordinator that is gone had begun and nobody wants."""
        self._launcher.adopt(assignment)
        self._launcher.stop(assignment.id)

    # --- telling --------------------------------------------------------------------------------------------------

    @property
    def has_answers(self) -> bool:
        """Whether something was found out that the launcher is to hear of."""
        return bool(self._answered)

    def committed(self, begun: list[Begun]) -> None:
        """What was found out so far is written, with the attempts that begin: all of it may be told."""
        answered, self._answered = self._answered, []
        self._due += [*answered, *begun]
        for word in answered:
            if word.number and word.assignment in self._running:
                self._running[word.assignment].acknowledged = word.number
        if answered:
            failpoint("reports_committed")
        if begun:
            failpoint("trials_committed")

    def tell(self, unwritten: Unwritten) -> None:
        """Say to the launcher what is due. What an error leaves unsaid is said by the next step."""
        while self._due:
            word = self._due.popleft()
            if isinstance(word, Answered):
                self._follow(word)
            else:
                self._dispatch(word, unwritten)

    def abandon(self, study: ActiveStudy) -> None:
        """End the workers of a study that is somebody else's now."""
        self._due = deque(word for word in self._due if not (isinstance(word, Begun) and word.study is study))
        for name in [name for name, running in self._running.items() if running.study is study]:
            self._launcher.stop(name)
            del self._running[name]

    def stop(self) -> None:
        """End everything at once."""
        for name in self._running:
            self._launcher.stop(name)
        for memory in (self._running, self._answers, self._answered, self._due):
            memory.clear()

    def _advance(self, name: str, running: Running) -> None:
        """Ask for the next slice, and tell the worker what has ended since the last one."""
        if any(isinstance(answer, Lost) and answer.assignment == name for answer in self._answers):
            return  # there is no worker to ask: it answered and was lost, and the answers are not looked at yet
        dropped, running.dropped = sorted(running.dropped), set()
        saves = running.leaves is not None
        self._launcher.advance(name, running.until, SLICE_SECONDS, dropped, saves, running.acknowledged)

    def _follow(self, answered: Answered) -> None:
        """Drop the stopped trials, ask for the next slice after a decision, or let go of an assignment that is over."""
        running = self._running.get(answered.assignment)
        if running is None:
            return
        failpoint("decided")
        if not running.attempts:  # after this answer or a later one: the launcher ignores what is over by itself
            self._launcher.stop(answered.assignment)
            del self._running[answered.assignment]
        elif answered.decided:
            running.until = min(running.study.until(attempt) for attempt in running.attempts.values())
            self._advance(answered.assignment, running)

    def _dispatch(self, begun: Begun, unwritten: Unwritten) -> None:
        study, attempts = begun.study, begun.attempts
        assignment = assign(begun, self._settings)
        running = Running(study, {item.number: item for item in attempts}, min(map(study.until, attempts)))
        try:
            self._launcher.start(assignment)
            self._advance(assignment.id, running)
        except LauncherError as error:
            unheard = interrupted("queued", str(error))
            for attempt in reversed(attempts):
                unwritten[study.id].retries.append((attempt, unheard))
                study.move(attempt.number, "queued")
            raise
        self._running[assignment.id] = running
        failpoint("dispatched")
