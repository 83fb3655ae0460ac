"""The coordinator: reap, collect, decide, fill. It is the only writer of trial state, and it can be killed anywhere.

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
from collections import Counter
from dataclasses import dataclass

from db import events, studies, trials
from db.engine import Database, Session
from db.tables import Artifact, Study
from tuner.active_study import ActiveStudy, Attempt
from tuner.claiming import claim, lease, release_dead
from tuner.collecting import Collected, collect
from tuner.configuration import Settings
from tuner.failpoints import failpoint
from tuner.housekeeping import remove_stale_rows
from tuner.sampling import trial_seed
from workers.artifacts import ArtifactStore
from workers.contract import Assignment, Launcher, LauncherError, Lost, Member, Resources, SliceResult

LEASE_SECONDS = 30.0  # a coordinator that was silent for this long has lost its studies
BEAT_SECONDS = 5.0  # leases are renewed and new studies looked for this often
SLICE_SECONDS = 1.0  # what a worker is asked to train before it answers

log = logging.getLogger("tuner.coordinator")


@dataclass
class Running:
    """An assignment at work: its study, and the attempts that are still in it, by trial number."""

    study: ActiveStudy
    attempts: dict[int, Attempt]
    until: int  # the epoch at which the next decision is due


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
        self.database, self.launcher = database, launcher
        self.settings, self.only = settings, only
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self.studies: dict[int, ActiveStudy] = {}
        self._running: dict[str, Running] = {}
        self._answers: list[SliceResult | Lost] = []  # received, not committed yet
        self._certain = True  # the last fill's transaction was seen to end
        self._next_beat = 0.0
        self._store = ArtifactStore(str(settings.artifacts))

    # --- the loop -----------------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Do everything that can be done now. True when something happened; False means: `wait`."""
        self._reap()
        collected = self._collect()
        filled = self._fill()
        settled = self._settle()
        return collected or filled or settled

    def wait(self, seconds: float) -> None:
        """Block until a worker answers, at most `seconds`."""
        if self._running:
            self._receive(seconds)
        else:
            time.sleep(seconds)

    def close(self, message: str = "The coordinator was asked to end.") -> None:
        """Queue every running trial again, give the studies back, and leave the workers idle."""
        with self.database.write() as s:
            for running in self._running.values():
                for attempt in running.attempts.values():
                    trials.requeue(s, attempt.trial_id, attempt.token, cause="cancelled", message=message, log="")
            for study in self.studies.values():
                studies.release(s, study.id, self.owner, study.term)
        for assignment in self._running:
            self.launcher.stop(assignment)
        self._running.clear()
        self.studies.clear()

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
            claimed = [claim(s, row, self.owner, LEASE_SECONDS) for row in studies.runnable(s) if self._wants(row)]
        self._abandon(lost)
        self.studies.update({study.id: study for study in claimed if study is not None})
        self._next_beat = time.monotonic() + BEAT_SECONDS
        failpoint("claimed")

    def _wants(self, row: Study) -> bool:
        return row.id not in self.studies and (self.only is None or row.name == self.only)

    def _beat(self, s: Session, study: ActiveStudy) -> None:
        study.stopping = studies.get(s, study.id).state == "stopping"
        trials.heartbeat(s, [(attempt.trial_id, attempt.token) for attempt in study.running.values()], LEASE_SECONDS)

    def _abandon(self, lost: set[int]) -> None:
        """Let go of studies that another coordinator runs now: their workers end, nothing is written."""
        for study_id in lost:
            study = self.studies.pop(study_id)
            log.warning("Study %s was taken over by another coordinator.", study.name)
            for name in [name for name, running in self._running.items() if running.study is study]:
                self.launcher.stop(name)
                del self._running[name]

    # --- collect and decide ---------------------------------------------------------------------------------------

    def _receive(self, seconds: float) -> None:
        for answer in self.launcher.poll(seconds):
            self._answers.append(answer)
            self._keep_busy(answer)

    def _keep_busy(self, answer: SliceResult | Lost) -> None:
        """Ask for the next slice before this one is digested, unless a decision is due or nobody is left."""
        running = self._running.get(answer.assignment)
        if running is None or isinstance(answer, Lost):
            return
        for report in answer.reports:
            if report.trial in running.attempts:
                running.attempts[report.trial].epoch = report.epoch
        ended = {item.trial for item in answer.ended}
        going = [attempt for number, attempt in running.attempts.items() if number not in ended]
        last = running.until >= running.study.definition.epochs  # no decision there: the worker ends it by itself
        if going and (last or any(attempt.epoch < running.until for attempt in going)):
            self.launcher.advance(answer.assignment, running.until, SLICE_SECONDS)

    def _collect(self) -> bool:
        self._receive(0.0)
        if not self._answers:
            return False
        failpoint("reports_received")
        involved = {running.study.id for answer in self._answers if (running := self._running.get(answer.assignment))}
        with self.database.write() as s:
            lost = self._lost(s, involved)
            collected = [self._digest(s, answer, lost) for answer in self._answers]
            failpoint("before_commit")
        failpoint("reports_committed")
        self._answers = []
        for item in collected:
            if item is not None:
                self._apply(item)
        self._abandon(lost)
        return True

    def _lost(self, s: Session, involved: set[int]) -> set[int]:
        """Renew the leases of these studies; returns the ones another coordinator has taken over."""
        held = [self.studies[study_id] for study_id in sorted(involved)]
        return {study.id for study in held if not studies.renew(s, study.id, self.owner, study.term, LEASE_SECONDS)}

    def _digest(self, s: Session, answer: SliceResult | Lost, lost: set[int]) -> Collected | None:
        running = self._running.get(answer.assignment)
        if running is None or running.study.id in lost:
            return None
        return collect(s, running.study, running.attempts, running.until, answer)

    def _apply(self, collected: Collected) -> None:
        """Follow what was committed: move the trials, drop the stopped ones, ask for the next slice."""
        running = self._running.get(collected.assignment)
        if running is None:
            return
        study, gone = running.study, set(collected.moves) | collected.stale
        for number, (state, value) in collected.moves.items():
            study.move(number, state, value)
        for number in gone:
            running.attempts.pop(number, None)
            study.running.pop(number, None)
        failpoint("decided")
        if not running.attempts:
            if gone - collected.ended:
                self.launcher.stop(collected.assignment)
            del self._running[collected.assignment]
        elif collected.decided:
            running.until = min(study.until(attempt) for attempt in running.attempts.values())
            self.launcher.advance(collected.assignment, running.until, SLICE_SECONDS, tuple(gone - collected.ended))
        study.has_artifacts |= collected.saved
        if gone and study.has_artifacts:
            self._tidy(study)

    # --- fill -----------------------------------------------------------------------------------------------------

    def _fill(self) -> bool:
        plan = self._plan()
        if not plan:
            return False
        failpoint("asked")
        certain, self._certain = self._certain, False
        with self.database.write() as s:
            lost = self._lost(s, {study.id for study, _ in plan})
            plan = [(study, number) for study, number in plan if study.id not in lost]
            leased = [lease(s, study, number, self.owner, LEASE_SECONDS, certain) for study, number in plan]
        self._certain = True
        failpoint("trials_committed")
        for (study, number), (attempt, checkpoint) in zip(plan, leased, strict=True):
            self._dispatch(study, number, attempt, checkpoint)
        self._abandon(lost)
        failpoint("dispatched")
        return True

    def _plan(self) -> list[tuple[ActiveStudy, int]]:
        """Which trials get the free workers; the study with the fewest running comes first."""
        plan: list[tuple[ActiveStudy, int]] = []
        room: dict[Resources, int] = {}
        planned: Counter[int] = Counter()
        open_studies = list(self.studies.values())
        while open_studies:
            study = min(open_studies, key=lambda item: (len(item.running) + planned[item.id], item.id))
            resources = study.definition.resources()
            if resources not in room:
                room[resources] = self.launcher.room(resources)
            number = study.waiting(planned[study.id]) if room[resources] > 0 else None
            if number is None:
                open_studies.remove(study)
                continue
            room[resources] -= 1
            planned[study.id] += 1
            plan.append((study, number))
        return plan

    def _dispatch(self, study: ActiveStudy, number: int, attempt: Attempt, checkpoint: Artifact | None) -> None:
        study.start(attempt)
        member = Member(
            trial=number,
            token=attempt.token,
            params=study.points[number].params,
            seed=trial_seed(study.definition.seed, number),
            checkpoint=checkpoint.key if checkpoint else None,
        )
        training = study.definition.training(str(self.settings.artifacts), self.settings.import_paths)
        name = f"{study.name}-{number}-{attempt.token}"
        assignment = Assignment(name, training, (member,), study.definition.resources())
        running = Running(study, {number: attempt}, study.until(attempt))
        try:
            self.launcher.start(assignment)
            self.launcher.advance(name, running.until, SLICE_SECONDS)
        except LauncherError as error:
            with self.database.write() as s:
                trials.requeue(s, attempt.trial_id, attempt.token, cause="cancelled", message=str(error), log="")
            study.move(number, "queued")
            raise
        self._running[name] = running

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
            failpoint("study_finished")
            self._abandon(lost)
            self.studies.pop(study.id, None)
        return bool(over)

    def _tidy(self, study: ActiveStudy) -> None:
        """Remove the artifacts nobody will ask for again, unless the study has been taken over."""
        with self.database.write() as s:
            stale = [] if self._lost(s, {study.id}) else remove_stale_rows(s, study.id, study.definition)
        for key in stale:
            self._store.remove(key)
