"""Taking a study, and taking a trial: the statements with which a coordinator begins, in the caller's transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from dataclasses import dataclass

from db import artifacts, events, studies, trials
from db.engine import Session
from db.tables import Artifact, Study
from tuner.active_study import ActiveStudy, Attempt
from tuner.configuration import Settings
from tuner.errors import StudyBusy
from tuner.sampling import trial_seed
from workers.contract import Assignment, Member


@dataclass(frozen=True)
class Begun:
    """An attempt that has its rows and that no worker has been told about yet."""

    study: ActiveStudy
    attempt: Attempt
    checkpoint: Artifact | None  # what it resumes from; None: it starts at epoch 0


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
    s: Session, study: ActiveStudy, numbers: Sequence[int], owner: str, seconds: float, certain: bool
) -> list[Begun]:
    """Give trials a row where they have none, a token each, and the checkpoint they resume from.

    Args:
        certain: False after a transaction whose end was not seen: its rows may be there already.

    Raises:
        StudyBusy: a trial is another coordinator's.
    """
    known = [number for number in numbers if number in study.points or not certain]
    rows = {row.number: row for row in trials.numbered(s, study.id, known)}
    ids = {number: row.id for number, row in rows.items()}
    ids |= trials.create(s, study.id, [_new(study, number) for number in numbers if number not in rows])
    checkpoints = {row.id: artifacts.checkpoint(s, row.id) for row in rows.values() if row.token}
    tokens = {row.id: row.token for row in rows.values() if row.state == "running"}
    queued = [trial_id for trial_id in ids.values() if trial_id not in tokens]
    epochs = {trial_id: saved.epoch if saved else 0 for trial_id, saved in checkpoints.items()}
    tokens |= trials.lease(s, {trial_id: epochs.get(trial_id, 0) for trial_id in queued}, owner, seconds)
    begun = []
    for number in numbers:
        trial_id = ids[number]
        if trial_id not in tokens:
            raise StudyBusy(f"Trial {number} of study {study.name!r} was taken by another coordinator.")
        attempt = Attempt(trial_id, number, tokens[trial_id], epochs.get(trial_id, 0))
        begun.append(Begun(study, attempt, checkpoints.get(trial_id)))
    return begun


def assign(begun: Begun, settings: Settings) -> Assignment:
    """What a worker is told about an attempt."""
    study, attempt = begun.study, begun.attempt
    member = Member(
        trial=attempt.number,
        token=attempt.token,
        params=study.points[attempt.number].params,
        seed=trial_seed(study.definition.seed, attempt.number),
        checkpoint=begun.checkpoint.key if begun.checkpoint else None,
    )
    training = study.definition.training(str(settings.artifacts), settings.import_paths)
    name = f"{study.name}-{attempt.number}-{attempt.token}"
    return Assignment(name, training, (member,), study.definition.resources())


def _new(study: ActiveStudy, number: int) -> trials.New:
    proposal = study.proposal(number)
    return trials.New(number, proposal.params, trial_seed(study.definition.seed, number), proposal.notes)


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
