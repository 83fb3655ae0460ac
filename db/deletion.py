"""Deleting a study: all its rows in one transaction, children first."""

from __future__ import annotations

from sqlalchemy import delete, or_, select
from sqlalchemy.orm import Session

from db import studies
from db.tables import (
    Artifact,
    Attempt,
    Base,
    CodePackage,
    Decision,
    Event,
    Model,
    ModelVersion,
    Report,
    SearchSpace,
    Study,
    Trial,
    table,
)


def promoted(s: Session, study_id: int) -> list[tuple[str, int, int]]:
    """Model, version and trial of every promotion from the study that did not fail, in this order."""
    columns = select(Model.name, ModelVersion.number, Trial.number).where(Trial.study_id == study_id)
    joined = columns.join(ModelVersion, ModelVersion.model_id == Model.id).join(
        Trial, Trial.id == ModelVersion.trial_id
    )
    ordered = joined.where(ModelVersion.state != "failed").order_by(Model.name, ModelVersion.number)
    return [(name, version, trial) for name, version, trial in s.execute(ordered)]


def delete_study(s: Session, study_id: int) -> None:
    """Delete a study's rows. None of its trials may be promoted. Its artifacts' bytes may go once this is committed."""
    row = studies.get(s, study_id)
    space, code = row.search_space_id, row.code
    mine = select(Trial.id).where(Trial.study_id == study_id)
    of_trials: tuple[type[Base], ...] = (Report, Decision, Artifact, ModelVersion, Attempt)
    s.execute(delete(table(Event)).where(or_(Event.study_id == study_id, Event.trial_id.in_(mine))))
    for model in of_trials:
        rows = table(model)
        s.execute(delete(rows).where(rows.c.trial_id.in_(mine)))
    s.execute(delete(table(Trial)).where(Trial.study_id == study_id))
    s.execute(delete(table(Study)).where(Study.id == study_id))
    unused = SearchSpace.id.not_in(select(Study.search_space_id))
    s.execute(delete(table(SearchSpace)).where(SearchSpace.id == space, unused))
    others = select(Study.code).where(Study.code.is_not(None))
    s.execute(delete(table(CodePackage)).where(CodePackage.sha256 == code, CodePackage.sha256.not_in(others)))
