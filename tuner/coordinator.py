"""The coordinator: reap, collect, decide, fill. It is the only writer of trial state, and it can be killed anywhere.

A step finds out in memory what the answers mean and which trials come next, writes all of it in one transaction, and
only then tells the launcher. A transaction that failed is tried again as it was: what it wrote can be written twice.

`step()` never sleeps. An embedded run calls it from the user's process, the service from a daemon; there is no
second code path. Starting and recovering are the same call: a study is claimed, its rows are read, and a trial
that an earlier coordinator left running is queued again, to resume from its last checkpoint.
"""

from __future__ import annotations

import logging
import os
import socket
import time
import uuid
from collections import Counter, defaultdict, deque

from db import events, studies, trials
from db.engine import Database, Session
from db.failpoints import failpoint
from tuner.active_study import ActiveStudy
from tuner.claiming import Begun, assign, claim, lease, release_dead
from tuner.collecting import Answered, Running, collect
from tuner.configuration import Settings
from tuner.outcomes import Outcome
from tuner.writing import Rows, tidy, write
from workers.artifacts import ArtifactStore
from workers.contract import Launcher, LauncherError, Lost, Resources, SliceResult

LEASE_SECONDS = 30.0  # a coordinator that was silent for this long has lost its studies
BEAT_SECONDS = 5.0  # leases are renewed and new studies looked for this often
SLICE_SECONDS = 1.0  # what a worker is asked to train before it answers

log = logging.getLogger("tuner.coordinator")


class Coordinator:
    """Runs studies of one database on one launcher.

    Args:
        database: where the studies are.
        launcher: where their trials run.
        settings: where artifacts go (workers must reach the same folder) and where user code lies.
        only: run this study alone (embedded use); None: every active study (the service).

    Raises:
        DatabaseUnavailable: from `step`, when the database cannot be reached. Nothing is lost: call `step` again.
        LauncherError: from `step`, when a worker cannot be had. The trial is queued again.
    """

    def __init__(self, database: Database, launcher: Launcher, settings: Settings, only: str | None = None) -> None:
        self.database, self.launcher, self.settings, self.only = database, launcher, settings, only
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.studies: dict[int, ActiveStudy] = {}
        self._running: dict[str, Running] = {}
        self._answers: deque[SliceResult | Lost] = deque()  # received, not looked at yet
        self._unwritten: defaultdict[int, Rows] = defaultdict(Rows)  # by study: found out, not committed yet
        self._answered: list[Answered] = []  # what it means for the launcher
        self._due: deque[Answered | Begun] = deque()  # committed: what the launcher is to be told
        self._stale: deque[str] = deque()  # keys of artifacts whose rows are gone
        self._certain = True  # the last transaction was seen to end
        self._next_beat = 0.0
        self._store = ArtifactStore(str(settings.artifacts))

    # --- the loop -----------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do everything that can be done now. True when something happened; False means: `wait`."""
        self._tell()
        self._reap()
        self._collect()
        try:
            self._plan()
        except Exception:
            self._write()  # what the workers answered is kept, whatever is wrong with the sampler or the launcher
            raise
        written = self._write()
        settled = self._settle()
        return written or settled

    def wait(self, seconds: float) -> None:
        """Block until a worker answers, at most `seconds`. Artifacts that nobody needs are removed meanwhile."""
        if self._stale:
            self._store.remove(self._stale.popleft())
            seconds = 0.0
        if self._running:
            self._receive(seconds)
        else:
            time.sleep(seconds)

    def close(self, message: str = "The coordinator was asked to end.") -> None:
        """Queue every running trial again, give the studies back, and leave the workers idle."""
        with self.database.write() as s:
            for study in self.studies.values():
                write(s, study, self._unwritten[study.id])
                for attempt in study.running.values():
                    trials.requeue(s, attempt.trial_id, attempt.token, cause="cancelled", message=message, log="")
                studies.release(s, study.id, self.owner, study.term)
        for assignment in self._running:
            self.launcher.stop(assignment)
        while self._stale:
            self._store.remove(self._stale.popleft())
        for memory in (self._running, self.studies, self._unwritten, self._answered, self._due):
            memory.clear()

    # --- reap: leases, claims, and what others left behind --------------------------------------------------------

    def _reap(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        with self.database.write() as s:
            lost = self._lost(s, set(self.studies))
            for study in self.studies.values():
                if study.id not in lost:
                    self._beat(s, study)
            release_dead(s)
            free = [row for row in studies.runnable(s) if row.id not in self.studies and self.only in (None, row.name)]
            claimed = [claim(s, row, self.owner, LEASE_SECONDS) for row in free]
        self._abandon(lost)
        self.studies.update({study.id: study for study in claimed if study is not None})
        self._next_beat = time.monotonic() + BEAT_SECONDS
        failpoint("claimed")

    def _beat(self, s: Session, study: ActiveStudy) -> None:
        study.stopping = studies.get(s, study.id).state == "stopping"
        if study.stopping:
            failpoint("stop_seen")
        trials.heartbeat(s, [(attempt.trial_id, attempt.token) for attempt in study.running.values()], LEASE_SECONDS)

    def _abandon(self, lost: set[int]) -> None:
        """Let go of studies that another coordinator runs now: their workers end, nothing is written."""
        for study_id in lost:
            study = self.studies.pop(study_id)
            self._unwritten.pop(study_id, None)
            log.warning("Study %s was taken over by another coordinator.", study.name)
            for name in [name for name, running in self._running.items() if running.study is study]:
                self.launcher.stop(name)
                del self._running[name]

    # --- collect and decide ---------------------------------------------------------------------------------------

    def _receive(self, seconds: float) -> None:
        """Hear the workers, and ask for the next slice before the last one is digested, so that they do not idle."""
        for answer in self.launcher.poll(seconds):
            self._answers.append(answer)
            running = self._running.get(answer.assignment)
            if running is not None and isinstance(answer, SliceResult) and running.goes_on(answer):
                self.launcher.advance(answer.assignment, running.until, SLICE_SECONDS)

    def _collect(self) -> None:
        """Take in what the workers answered. All of it stays in memory until it is written."""
        self._receive(0.0)
        if self._answers:
            failpoint("reports_received")
        while self._answers:
            answer = self._answers.popleft()
            running = self._running.get(answer.assignment)
            if running is not None:
                self._answered.append(collect(running, answer, self._unwritten[running.study.id]))

    # --- fill -----------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Which trials get the free workers; the study with the fewest workers comes first."""
        if any(rows.starts for rows in self._unwritten.values()):
            return  # the last transaction failed: what it was to start comes first
        room: dict[Resources, int] = {}
        busy = Counter(running.study.id for running in self._running.values())  # workers of each study
        planned: Counter[int] = Counter()  # trials of each study
        open_studies = list(self.studies.values())
        while open_studies:
            study = min(open_studies, key=lambda item: (busy[item.id], item.id))
            resources = study.definition.resources()
            if resources not in room:
                room[resources] = self.launcher.room(resources)
            allowed = room[resources] > 0 and busy[study.id] != study.definition.workers
            group = study.waiting(planned[study.id]) if allowed else ()
            if not group:
                open_studies.remove(study)
                continue
            room[resources] -= 1
            busy[study.id] += 1
            planned[study.id] += len(group)
            self._unwritten[study.id].starts.append(group)
        if planned:
            failpoint("asked")

    # --- write, then tell -----------------------------------------------------------------------------------------

    def _write(self) -> bool:
        """Commit what was found out, and tell the launcher. True when there was anything."""
        pending = {study_id: rows for study_id, rows in sorted(self._unwritten.items()) if rows}
        if not (pending or self._answered):
            return False
        lost, begun, stale = self._commit(pending) if pending else (set(), [], [])
        answered, self._answered = self._answered, []
        self._unwritten.clear()
        for item in begun:
            for attempt in item.attempts:
                item.study.start(attempt)
        self._due += [*answered, *begun]
        if answered:
            failpoint("reports_committed")
        if begun:
            failpoint("trials_committed")
        self._abandon(lost)
        self._tell()
        self._stale += stale  # removed while workers train: a folder takes milliseconds, in which none should wait
        return True

    def _commit(self, pending: dict[int, Rows]) -> tuple[set[int], list[Begun], list[str]]:
        """One transaction. Returns the studies that are lost, the attempts that begin, and artifacts to remove."""
        begun: list[Begun] = []
        stale: list[str] = []
        certain, self._certain = self._certain, False
        with self.database.write() as s:
            lost = self._lost(s, set(pending))
            for study_id in [study_id for study_id in pending if study_id not in lost]:
                study, rows = self.studies[study_id], pending[study_id]
                if write(s, study, rows) or not certain:
                    stale += tidy(s, study, rows)
                    begun += lease(s, study, rows.starts, self.owner, LEASE_SECONDS, certain)
                else:
                    lost.add(study_id)  # its rows are not what this coordinator remembers: to be read again
            failpoint("before_commit")
        self._certain = True
        return lost, begun, stale

    def _lost(self, s: Session, involved: set[int]) -> set[int]:
        """Renew the leases of these studies; returns the ones another coordinator has taken over."""
        held = [self.studies[study_id] for study_id in sorted(involved)]
        return {study.id for study in held if not studies.renew(s, study.id, self.owner, study.term, LEASE_SECONDS)}

    def _tell(self) -> None:
        """Say to the launcher what is due. What an error leaves unsaid is said by the next step."""
        while self._due:
            word = self._due.popleft()
            if isinstance(word, Answered):
                self._follow(word)
            elif self.studies.get(word.study.id) is word.study:
                self._dispatch(word)

    def _follow(self, answered: Answered) -> None:
        """Drop the stopped trials, ask for the next slice after a decision, or let go of an assignment that is over."""
        running = self._running.get(answered.assignment)
        if running is None:
            return
        failpoint("decided")
        dropped = answered.gone - answered.ended
        if not running.attempts:  # after this answer or a later one: the launcher ignores what is over by itself
            self.launcher.stop(answered.assignment)
            del self._running[answered.assignment]
        elif answered.decided:
            running.until = min(running.study.until(attempt) for attempt in running.attempts.values())
            self.launcher.advance(answered.assignment, running.until, SLICE_SECONDS, tuple(dropped))

    def _dispatch(self, begun: Begun) -> None:
        study, attempts = begun.study, begun.attempts
        assignment = assign(begun, self.settings)
        running = Running(study, {item.number: item for item in attempts}, min(map(study.until, attempts)))
        try:
            self.launcher.start(assignment)
            self.launcher.advance(assignment.id, running.until, SLICE_SECONDS)
        except LauncherError as error:
            unheard = Outcome("queued", cause="cancelled", message=str(error))
            for attempt in reversed(attempts):
                self._unwritten[study.id].retries.append((attempt, unheard))
                study.move(attempt.number, "queued")
            raise
        self._running[assignment.id] = running
        failpoint("dispatched")

    # --- settle: studies that are over ----------------------------------------------------------------------------

    def _settle(self) -> bool:
        over = [(study, ending) for study in self.studies.values() if study.idle and (ending := study.ending())]
        for study, ending in over:
            with self.database.write() as s:
                lost = self._lost(s, {study.id})
                if not lost:
                    trials.cancel_queued(s, study.id)
                    events.add(s, "study_finished", study_id=study.id, state=study.final_state, reason=ending)
                    studies.finish(s, study.id, study.final_state, ending)
                    failpoint("study_ending")
            failpoint("study_finished")
            self._abandon(lost)
            self.studies.pop(study.id, None)
        return bool(over)
