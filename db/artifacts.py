"""Artifacts: where complete bytes lie. The bytes come first and the row second, never the other way round.

One folder may hold what several trials saved together: each has a row of its own with the folder's key.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from sqlalchemy import Select, delete, select
from sqlalchemy.orm import Session

from db import dialects, trials
from db.tables import Artifact, ModelVersion, Trial, table

_AT_ONCE = 500  # rows in one statement; SQLite allows 32766 bound values


@dataclass(frozen=True)
class New:
    """What an attempt saved."""

    trial_id: int
    token: int
    kind: str  # "checkpoint" (to resume from) or "model" (the trial's best weights)
    epoch: int  # whose weights these are
    key: str  # the folder's key in the artifact store
    sha256: str  # of the folder's manifest.json
    bytes: int  # of the whole folder


def add(s: Session, new: Sequence[New]) -> set[tuple[int, int]]:
    """Store what attempts saved. Returns the attempts, as `(trial_id, token)`, whose token is not stale; only theirs
    is stored. A trial's row with the same key is kept as it is.
    """
    current = trials.fenced(s, {(item.trial_id, item.token) for item in new})
    rows = [vars(item) for item in new if (item.trial_id, item.token) in current]
    if rows:
        s.execute(dialects.insert(s, table(Artifact)).on_conflict_do_nothing(index_elements=["key", "trial_id"]), rows)
    return current


def checkpoint(s: Session, trial_id: int) -> Artifact | None:
    """The checkpoint that the trial's next attempt should begin with: the newest attempt's newest."""
    return s.scalars(_newest(trial_id, "checkpoint").limit(1)).one_or_none()


def remove_superseded(s: Session, trial_ids: Collection[int]) -> set[str]:
    """Forget all checkpoints of these trials but the newest of each. Returns the keys that no row has any more."""
    superseded: list[Artifact] = []
    trials_asked = sorted(trial_ids)
    for start in range(0, len(trials_asked), _AT_ONCE):
        some = Artifact.trial_id.in_(trials_asked[start : start + _AT_ONCE])
        rows = s.scalars(select(Artifact).where(some, Artifact.kind == "checkpoint")).all()
        kept = newest_checkpoints(rows)
        superseded += [row for row in rows if row.id not in kept]
    remove(s, [row.id for row in superseded])
    return _unused(s, {row.key for row in superseded})


def newest_checkpoints(rows: Iterable[Artifact]) -> set[int]:
    """Ids of those of the rows that `checkpoint` would find: one of each trial that has any."""
    newest: dict[int, Artifact] = {}
    for row in rows:
        known = newest.get(row.trial_id)
        if row.kind == "checkpoint" and (known is None or _age(row) > _age(known)):
            newest[row.trial_id] = row
    return {row.id for row in newest.values()}


def model(s: Session, trial_id: int) -> Artifact | None:
    """The trial's best weights, as its newest attempt with any saved them last."""
    return s.scalars(_newest(trial_id, "model").limit(1)).one_or_none()


def with_models(study_id: int) -> Select[int]:
    """Asks for the ids of the study's trials whose models are kept."""
    rows = select(Artifact.trial_id).join(Trial, Trial.id == Artifact.trial_id)
    return rows.where(Trial.study_id == study_id, Artifact.kind == "model")


def of_study(s: Session, study_id: int) -> list[Artifact]:
    """Every artifact of a study, by trial, oldest first."""
    rows = select(Artifact).join(Trial, Trial.id == Artifact.trial_id).where(Trial.study_id == study_id)
    return list(s.scalars(rows.order_by(Trial.number, Artifact.id)))


def promoted_trials(s: Session, study_id: int) -> set[int]:
    """Ids of the study's trials that a model version was made of, or is being made of."""
    rows = select(ModelVersion.trial_id).join(Trial, Trial.id == ModelVersion.trial_id)
    return set(s.scalars(rows.where(Trial.study_id == study_id, ModelVersion.state != "failed")))


def keys(s: Session) -> set[str]:
    """The keys of all artifacts of all studies."""
    return set(s.scalars(select(Artifact.key)))


def remove(s: Session, ids: Collection[int]) -> None:
    """Forget these rows; bytes that no other row points to may be deleted once this is committed."""
    stale = sorted(ids)
    for start in range(0, len(stale), _AT_ONCE):
        s.execute(delete(table(Artifact)).where(Artifact.id.in_(stale[start : start + _AT_ONCE])))


def _unused(s: Session, keys: Collection[str]) -> set[str]:
    """Those of the keys that no row has."""
    asked, used = sorted(keys), set[str]()
    for start in range(0, len(asked), _AT_ONCE):
        some = Artifact.key.in_(asked[start : start + _AT_ONCE])
        used.update(s.scalars(select(Artifact.key).where(some).distinct()))
    return set(asked) - used


def _age(row: Artifact) -> tuple[int, int, int]:
    """Greater where newer, as in `_newest`: ids say less, for a worker may say again what was forgotten meanwhile."""
    return (row.token, row.epoch, row.id)


def _newest(trial_id: int, kind: str) -> Select[Artifact]:
    rows = select(Artifact).where(Artifact.trial_id == trial_id, Artifact.kind == kind)
    return rows.order_by(Artifact.token.desc(), Artifact.epoch.desc(), Artifact.id.desc())
