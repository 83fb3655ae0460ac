"""Taking a study, and taking a trial: the statements with which a coordinator begins, in the caller's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from db import artifacts, events, states, studies, trials
from db.engine import Session
from db.tables import Artifact, Study
from tuner.configuration import Settings
from tuner.coordination import study_log
from tuner.coordination.active_study import ActiveStudy, origin
from tuner.coordination.tried import Attempt
from tuner.definitions.definition import StudyDefinition
from tuner.definitions.stored_data import missing
from tuner.errors import InvalidInput, InvalidStudy, StudyBusy
from tuner.samplers.sampling import available, trial_seed
from workers.contract import Assignment, Member
from workers.launchers.machine import is_gone


@dataclass(frozen=True)
class Begun:
    """Attempts that have their rows, for one worker that has not been told about them yet."""

    study: ActiveStudy
    attempts: tuple[Attempt, ...]
    checkpoints: dict[int, Artifact]  # what they resume from, by trial number; absent: from epoch 0


AWAY = "Its coordinator went away; the trial resumes from its last checkpoint."


def claim(
    s: Session, row: Study, owner: str, seconds: float, held: Sequence[Assignment], import_paths: tuple[str, ...]
) -> ActiveStudy | None:
    """Take a study and read its rows; None when another coordinator was faster.

    Trials that are running on paper belong to a coordinator that is gone. They go on where a worker still holds them,
    and are queued again where none does.

    Args:
        held: what workers hold whose coordinator is gone, of any study.
        import_paths: where its workers import the user's code from.
    """
    term = studies.claim(s, row.id, owner, seconds)
    if term is None:
        return None
    row = studies.get(s, row.id)  # again: until a moment ago another one may have written
    mine = [assignment for assignment in held if assignment.origin == origin(row)]
    kept = {(member.trial, member.token) for assignment in mine for member in assignment.members}
    running = trials.running(s, row.id)
    orphans = [trial for trial in running if (trial.number, trial.token) not in kept]
    for trial in orphans:
        trials.requeue(s, interruption(trial.id, trial.token, "deadline", AWAY))
    trials.heartbeat(s, [(trial.id, trial.token) for trial in running], seconds)
    counts = {"requeued": len(orphans), "reattached": len(running) - len(orphans)}
    events.add(s, "study_claimed", study_id=row.id, owner=owner, term=term, **counts)
    study = ActiveStudy.load(s, row, term)
    study.import_paths = import_paths
    return study


def can_run(s: Session, row: Study, settings: Settings, *, alone: bool) -> bool:
    """Whether this process can run a study. Its row says why not: it waits for another coordinator, the others go on.
    One that cannot be run here, and that a person wants to end, ends where nothing of it is to be finished.

    `alone`: there are no others. Raises InvalidInput then.
    """
    problem = _unfit(row, settings)
    if problem is not None and alone:
        raise InvalidInput(problem)
    if problem is not None and not _end_on_request(s, row) and problem != row.waits:
        study_log.left_alone(row.name, problem)
        studies.explain_left_alone(s, row.id, problem)
    return problem is None


def _unfit(row: Study, settings: Settings) -> str | None:
    """Why a study cannot be run here, as a sentence: another version wrote it, or something is not here."""
    try:
        definition = StudyDefinition.from_json(row.definition)
    except InvalidStudy as error:
        return str(error)
    return available(definition.sampler) or missing(definition.data, settings.artifacts)


def _end_on_request(s: Session, row: Study) -> bool:
    """End a study as a person wants it, without its definition. False: nobody does, or trials are to be finished.

    Its row is locked, so a coordinator that has it or gets it finds it ended. What its trials saved stays until it is
    deleted: what of that is good only the definition says.
    """
    locked = studies.unclaimed(s, row.id) if row.state in states.ON_REQUEST else None
    wanted = states.ON_REQUEST.get(locked.state) if locked else None
    running = trials.running(s, row.id) if wanted else []
    if wanted is None or (running and wanted == "stopped"):
        return False
    message = "The study was cancelled."
    trials.end(
        s, [trials.End(item.id, item.token, "cancelled", cause="cancelled", message=message) for item in running]
    )
    trials.cancel_queued(s, row.id)
    reason = f"{wanted} on request"
    studies.finish(s, row.id, wanted, reason)
    events.add(s, "study_finished", study_id=row.id, state=wanted, reason=reason)
    study_log.ended(row.name, wanted, reason)
    return True


def unwanted(s: Session, held: Sequence[Assignment]) -> list[Assignment]:
    """Those of studies of this database that have ended: nobody will ask for their workers again."""
    rows = {name: studies.find(s, name) for name in {assignment.training.study for assignment in held}}
    over = {origin(row) for row in rows.values() if row is not None and row.state in states.terminal(states.STUDY)}
    return [assignment for assignment in held if assignment.origin in over]


def interruption(trial_id: int, token: int, cause: str, message: str) -> trials.End:
    """How an attempt ends with its coordinator: nothing is wrong with the trial, which is queued again."""
    return trials.End(trial_id, token, "queued", cause=cause, message=message)


def release_dead(s: Session) -> None:
    """Free the studies whose owner is a process of this machine that is gone: no need to wait for its lease."""
    for row in studies.leased(s):
        if row.owner is not None and is_gone(row.owner):
            studies.release(s, row.id, row.owner, row.term)


def lease(
    s: Session, study: ActiveStudy, groups: Sequence[tuple[int, ...]], owner: str, seconds: float, certain: bool
) -> list[Begun]:
    """Give trials a row where they have none, a token each, and the checkpoint they resume from.

    Args:
        groups: numbers of the trials that get a worker together.
        certain: False after a transaction whose end was not seen: its rows may be there already.

    Raises:
        StudyBusy: a trial is another coordinator's.
    """
    numbers = [number for group in groups for number in group]
    known = [number for number in numbers if number in study.points or not certain]
    rows = {row.number: row for row in trials.numbered(s, study.id, known)}
    ids = {number: row.id for number, row in rows.items()}
    ids |= trials.create(s, study.id, [_new(study, number) for number in numbers if number not in rows])
    checkpoints = {row.id: artifacts.checkpoint(s, row.id) for row in rows.values() if row.token}
    tokens = {row.id: row.token for row in rows.values() if row.state == "running"}
    queued = [trial_id for trial_id in ids.values() if trial_id not in tokens]
    epochs = {trial_id: saved.epoch if saved else 0 for trial_id, saved in checkpoints.items()}
    tokens |= trials.lease(s, {trial_id: epochs.get(trial_id, 0) for trial_id in queued}, owner, seconds)
    for number in numbers:
        if ids[number] not in tokens:
            raise StudyBusy(f"Trial {number} of study {study.name!r} was taken by another coordinator.")
    attempts = {n: Attempt(ids[n], n, tokens[ids[n]], epochs.get(ids[n], 0)) for n in numbers}
    saved = {n: checkpoint for n in numbers if (checkpoint := checkpoints.get(ids[n])) is not None}
    return [Begun(study, tuple(attempts[number] for number in group), saved) for group in groups]


def assign(begun: Begun, settings: Settings) -> Assignment:
    """What a worker is told about attempts."""
    study, first = begun.study, begun.attempts[0]
    training = study.definition.training(str(settings.artifacts), study.import_paths)
    name = f"{study.name}-{first.number}-{first.token}"
    members = tuple(_member(begun, attempt) for attempt in begun.attempts)
    return Assignment(name, training, members, study.definition.resources(), study.origin)


def _member(begun: Begun, attempt: Attempt) -> Member:
    checkpoint = begun.checkpoints.get(attempt.number)
    return Member(
        trial=attempt.number,
        token=attempt.token,
        params=begun.study.points[attempt.number].params,
        seed=trial_seed(begun.study.definition.seed, attempt.number),
        checkpoint=checkpoint.key if checkpoint else None,
    )


def _new(study: ActiveStudy, number: int) -> trials.New:
    proposal = study.proposal(number)
    return trials.New(number, proposal.params, trial_seed(study.definition.seed, number), proposal.notes)
