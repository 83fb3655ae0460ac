"""The coordinator: reap, collect, decide, fill. It is the only writer of trial state, and it can be killed anywhere.

A step finds out in memory what the answers mean and which trials come next, writes all of it in one transaction, and
only then tells the launcher. A transaction that failed is tried again as it was: what it wrote can be written twice.

`step()` never sleeps. An embedded run calls it from the user's process, the service from a daemon; there is no
second code path. Starting and recovering are the same call: a study is claimed, its rows are read, and a trial
that an earlier coordinator left running goes on where a worker still holds it, or is queued again, to resume from
its last checkpoint.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Mapping

from db import coordinators, events, studies, trials
from db.engine import Database, Session
from db.failpoints import failpoint
from db.tables import Study
from tuner.configuration import Settings
from tuner.coordination import study_log
from tuner.coordination.active_study import ActiveStudy
from tuner.coordination.assignments import Assignments
from tuner.coordination.claiming import Begun, can_run, claim, interruption, lease, release_dead, unwanted
from tuner.coordination.housekeeping import remove_stale_rows
from tuner.coordination.sharing import Sharing
from tuner.coordination.writing import Rows, tidy, write
from tuner.payload.user_code import import_paths
from workers.artifacts import ArtifactStore
from workers.contract import Launcher, LauncherError
from workers.launchers.machine import process_name

LEASE_SECONDS = 30.0  # a coordinator that was silent for this long has lost its studies
BEAT_SECONDS = 5.0  # leases are renewed this often
LOOK_SECONDS = 0.5  # a new study, and a person's verb or edit, is seen after this long


class Coordinator:
    """Runs studies of one database on one launcher.

    Args:
        database: where the studies are.
        launcher: where their trials run.
        settings: where artifacts go (workers must reach the same folder) and where user code lies.
        only: run this study alone (embedded use); None: every active study (the service).

    Raises:
        DatabaseUnavailable: from `step`, when the database cannot be reached. Nothing is lost: call `step` again.
        LauncherError: from `step`, when a worker cannot be had, whose trial is queued again, or a study's code cannot
            be put among the artifacts, which is tried again.
    """

    def __init__(self, database: Database, launcher: Launcher, settings: Settings, only: str | None = None) -> None:
        self.database, self.launcher, self.settings, self.only = database, launcher, settings, only
        self.owner = process_name()
        self.studies: dict[int, ActiveStudy] = {}
        self._assignments = Assignments(launcher, settings)
        self._sharing = Sharing(launcher)
        self._waits: dict[int, str] = {}  # by study: why it has no worker
        self._unwritten: defaultdict[int, Rows] = defaultdict(Rows)  # by study: found out, not committed yet
        self._stale: deque[str] = deque()  # keys of artifacts whose rows are gone
        self._certain = True  # the last transaction was seen to end
        self._next_beat = self._next_look = 0.0
        self._waiting: set[int] = set()  # ids of the studies that nobody ran when it was looked last
        self._store = ArtifactStore(str(settings.artifacts))

    # --- the loop -----------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do everything that can be done now. True when something happened; False means: `wait`."""
        self._assignments.tell(self._unwritten)
        self._reap()
        self._look()
        self._assignments.collect(self._unwritten)
        self._follow_wishes()
        try:
            self._plan()
        except Exception:
            self._write()  # what the workers answered is kept, whatever is wrong with the launcher
            raise
        written = self._write()
        settled = self._settle()
        return written or settled

    def wait(self, seconds: float) -> None:
        """Block until a worker answers, at most `seconds`. Artifacts that nobody needs are removed meanwhile."""
        if self._stale:
            self._store.remove(self._stale.popleft())
            seconds = 0.0
        if self._assignments.running:
            self._assignments.receive(seconds)
        else:
            time.sleep(seconds)

    def close(self, message: str = "The coordinator was asked to end.") -> None:
        """Queue every running trial again, give the studies back, and leave the workers idle."""
        stale: list[str] = []
        with self.database.write() as s:
            lost = self._lost(s, set(self.studies))
            for study in [study for study in self.studies.values() if study.id not in lost]:
                write(s, study, self._unwritten[study.id])
                stale += tidy(s, study, self._unwritten[study.id])
                for attempt in study.running.values():
                    trials.requeue(s, interruption(attempt.trial_id, attempt.token, "cancelled", message))
                studies.release(s, study.id, self.owner, study.term)
            coordinators.leave(s, self.owner)
        self._assignments.stop()
        self._stale += stale
        while self._stale:
            self._store.remove(self._stale.popleft())
        self.studies.clear()
        self._unwritten.clear()

    # --- reap: leases, claims, and what others left behind --------------------------------------------------------

    def _reap(self) -> None:
        if time.monotonic() < self._next_beat:
            return
        nodes = self._nodes()
        with self.database.write() as s:
            if self.only is None:
                coordinators.beat(s, self.owner, nodes, LEASE_SECONDS)
            lost = self._lost(s, set(self.studies))
            for study in self.studies.values():
                if study.id not in lost:
                    running = [(attempt.trial_id, attempt.token) for attempt in study.running.values()]
                    trials.heartbeat(s, running, LEASE_SECONDS)
            release_dead(s)
            free = self._free(s)
        self._abandon(lost)
        if free:
            self._claim(free)
        self._next_beat = time.monotonic() + BEAT_SECONDS
        failpoint("claimed")

    def _free(self, s: Session) -> list[Study]:
        rows = [row for row in studies.runnable(s) if row.id not in self.studies and self.only in (None, row.name)]
        return [row for row in rows if can_run(s, row, self.settings, alone=self.only is not None)]

    def _claim(self, free: list[Study]) -> None:
        """Take the free studies, and the workers that train for them since before."""
        held = self.launcher.held()  # may take seconds, as writing packages may: no transaction waits for it
        paths = {row.id: import_paths(self.database, self.settings, row) for row in free}
        with self.database.write() as s:
            known = [(row, paths[row.id]) for row in self._free(s) if row.id in paths]
            found = [claim(s, row, self.owner, LEASE_SECONDS, held, path) for row, path in known]
            over = unwanted(s, held)
        claimed = {study.origin: study for study in found if study is not None}
        self.studies.update({study.id: study for study in claimed.values()})
        failpoint("claim_committed")
        for study in claimed.values():
            study_log.taken_up(study)
        own = {study.origin for study in self.studies.values()}
        for assignment in held:
            if assignment.origin in claimed:
                self._assignments.adopt(claimed[assignment.origin], assignment)
            elif assignment.origin in own or assignment in over:
                self._assignments.dismiss(assignment)

    def _nodes(self) -> Mapping[str, Mapping[str, float]]:
        try:
            return self.launcher.nodes() if self.only is None else {}
        except LauncherError:
            return {}  # leases are renewed while the cluster does not answer

    def _abandon(self, lost: set[int]) -> None:
        """Let go of studies that another coordinator runs now: their workers end, nothing is written."""
        for study_id in lost:
            study = self.studies.pop(study_id)
            self._unwritten.pop(study_id, None)
            study_log.lost(study)
            self._assignments.abandon(study)

    # --- look: what people want, and what they are told -------------------------------------------------------------

    def _look(self) -> None:
        """See new studies, verbs and edits, and say in the rows why studies wait."""
        if time.monotonic() < self._next_look or (self.only is not None and not self.studies):
            return
        with self.database.read() as s:
            seen, self._waiting = self._waiting, studies.waiting(s) if self.only is None else set()
            if self._waiting - seen:
                self._next_beat = 0.0  # claim it with the next step
            for study_id, wish in studies.wishes(s, self.owner).items():
                if study_id in self.studies:
                    self.studies[study_id].heed(s, *wish)
                    if self.studies[study_id].state == "stopping":
                        failpoint("stop_seen")
        if told := [study for study in self.studies.values() if study.waits != self._waits.get(study.id)]:
            with self.database.write() as s:
                for study in told:
                    study.waits = self._waits.get(study.id)
                    studies.explain_waiting(s, study.id, self.owner, study.term, study.waits)
        self._next_look = time.monotonic() + LOOK_SECONDS

    def _follow_wishes(self) -> None:
        """End what a person wants to end, at once; a paused study gives its workers back when its trials are saved."""
        self._assignments.follow_wishes(self._unwritten)
        for study in [study for study in self.studies.values() if study.to_cancel]:
            rows = self._unwritten[study.id]
            starting = {number for group in rows.starts for number in group}  # by a transaction that is tried again
            for number in sorted(study.to_cancel.intersection(study.queue) - starting):
                rows.cancels.append(number)
                study.move(number, "cancelled")

    # --- fill -----------------------------------------------------------------------------------------------------

    def _plan(self) -> None:
        """Decide which trials get the free workers."""
        if any(rows.starts for rows in self._unwritten.values()):
            return  # the last transaction failed: what it was to start comes first
        plan = self._sharing.plan(self.studies.values(), self._assignments.running)
        self._waits = plan.waits
        for study_id, groups in plan.starts.items():
            self._unwritten[study_id].starts += groups
        if plan.starts:
            failpoint("asked")

    # --- write, then tell -----------------------------------------------------------------------------------------

    def _write(self) -> bool:
        """Commit what was found out, and tell the launcher. True when there was anything."""
        pending = {study_id: rows for study_id, rows in sorted(self._unwritten.items()) if rows}
        if not (pending or self._assignments.has_answers):
            return False
        lost, begun, stale = self._commit(pending) if pending else (set(), [], [])
        self._unwritten.clear()
        for item in begun:
            for attempt in item.attempts:
                item.study.start(attempt)
        self._assignments.committed(begun)
        self._abandon(lost)
        self._assignments.tell(self._unwritten)
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
                taken = write(s, study, rows)
                stale += tidy(s, study, rows)
                if taken or not certain:
                    begun += lease(s, study, rows.starts, self.owner, LEASE_SECONDS, certain)
                else:
                    lost.add(study_id)  # its rows are not what this coordinator remembers: to be read again
            failpoint("before_commit")
        self._certain = True
        return lost, begun, stale

    def _lost(self, s: Session, involved: set[int]) -> set[int]:
        """Renew the leases of these studies; returns the ones another coordinator has taken over."""
        held = [self.studies[study_id] for study_id in sorted(involved)]
        return {
            study.id
            for study in held
            if not studies.renew(s, study.id, self.owner, study.term, LEASE_SECONDS, study.active_seconds)
        }

    # --- settle: studies that are over ----------------------------------------------------------------------------

    def _settle(self) -> bool:
        over = [(study, ending) for study in self.studies.values() if study.over and (ending := study.ending())]
        for study, ending in over:
            stale: list[str] = []
            with self.database.write() as s:
                lost = self._lost(s, {study.id})
                ended = not lost and studies.finish(s, study.id, study.final_state, ending, study.revision)
                if ended:
                    if trials.cancel_queued(s, study.id):
                        stale = remove_stale_rows(s, study.id, study.definition)
                    events.add(s, "study_finished", study_id=study.id, state=study.final_state, reason=ending)
                    failpoint("study_ending")
            failpoint("study_finished")
            self._stale += stale
            self._abandon(lost)
            if ended:
                self.studies.pop(study.id)
                study_log.ended(study.name, study.final_state, ending)
            else:
                self._next_look = 0.0  # a person wants something else meanwhile
        return bool(over)
