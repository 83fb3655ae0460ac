"""Taking a study, and taking a trial: the statements with which a coordinator begins, in the caller's transaction."""

from __future__ import annotations

import os
import socket

from db import artifacts, events, studies, trials
from db.engine import Session
from db.tables import Artifact, Study
from tuner.active_study import ActiveStudy, Attempt
from tuner.errors import StudyBusy
from tuner.sampling import trial_seed

AWAY = "Its coordinator went away; the trial resumes from its last checkpoint."


def claim(s: Session, row: Study, owner: str, seconds: float) -> ActiveStudy | None:
    """Take a study and read its rows; None when another coordinator was faster.

    Trials that are running on paper belong to a coordinator that is gone: they are queued again.
    """
    term = studies.claim(s, row.id, owner, seconds)
    if term is None:
        return None
    orphans = trials.running(s, row.id)
    for trial in orphans:
        trials.requeue(s, trial.id, trial.token, cause="deadline", message=AWAY, log="")
    events.add(s, "study_claimed", study_id=row.id, owner=owner, term=term, requeued=len(orphans))
    return ActiveStudy.load(s, row, term)


def release_dead(s: Session) -> None:
    """Free the studies whose owner is a process of this machine that is gone: no need to wait for its lease."""
    for row in studies.leased(s):
        if row.owner is not None and _is_dead(row.owner):
            studies.release(s, row.id, row.owner, row.term)


def lease(
    s: Session, study: ActiveStudy, number: int, owner: str, seconds: float, certain: bool
) -> tuple[Attempt, Artifact | None]:
    """Give a trial a row where it has none, and a token; also the checkpoint it resumes from.

    Args:
        certain: False after a transaction whose end was not seen: its rows may be there already.

    Raises:
        StudyBusy: the trial is another coordinator's.
    """
    known = number in study.points or not certain
    row = trials.get(s, study.id, number) if known else None
    if row is None:
        proposal = study.proposal(number)
        seed = trial_seed(study.definition.seed, number)
        row = trials.create(s, study.id, number=number, params=proposal.params, seed=seed, notes=proposal.notes)
    checkpoint = artifacts.checkpoint(s, row.id) if row.token else None
    epoch = checkpoint.epoch if checkpoint else 0
    token = row.token if row.state == "running" else trials.lease(s, row.id, owner, seconds, epoch)
    if token is None:
        raise StudyBusy(f"Trial {number} of study {study.name!r} was taken by another coordinator.")
    return Attempt(row.id, number, token, epoch), checkpoint


def _is_dead(owner: str) -> bool:
    host, pid, _ = owner.split(":", 2)
    if host != socket.gethostname():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
