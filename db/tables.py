"""The tables. Rows are read as these classes and written by the statements of the modules beside this one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db import clock, states
from db.types import Json, Moment, Number

NAMES = {
    "pk": "pk_%(table_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
}
"""Every constraint has a name, so a later migration can change it on both dialects."""


class Base(DeclarativeBase):
    """Common to all tables: text is text, floats are `Number`, datetimes are `Moment`."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text(),
        float: Number(),
        datetime: Moment(),
        dict[str, Any]: Json(),
    }


def table(model: type[Base]) -> Table:
    """The table behind a model, for statements that do without the session's bookkeeping."""
    return model.metadata.tables[model.__tablename__]


def _state(allowed: states.Table) -> CheckConstraint:
    return CheckConstraint(f"state IN ({', '.join(repr(state) for state in allowed)})", name="state")


class SearchSpace(Base):
    """A search space, shared by all studies that use the same one."""

    __tablename__ = "search_space"

    id: Mapped[int] = mapped_column(primary_key=True)
    hash: Mapped[str] = mapped_column(unique=True)  # SHA-256 of its canonical JSON
    schema: Mapped[int]  # version of its JSON form
    family: Mapped[str | None]  # e.g. "mlp"
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())


class SearchSpaceParameter(Base):
    """One parameter of a search space."""

    __tablename__ = "search_space_parameter"

    search_space_id: Mapped[int] = mapped_column(ForeignKey(SearchSpace.id, ondelete="CASCADE"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)  # order in the space, from 0
    name: Mapped[str]
    type: Mapped[str]  # "int", "float", "choice", "lambda", …
    domain: Mapped[dict[str, Any]]  # what the type needs: low, high, options, …
    condition: Mapped[dict[str, Any] | None]  # the form's "when": parent -> values

    __table_args__ = (UniqueConstraint("search_space_id", "name"),)


class CodePackage(Base):
    """Python files of a user as they were when a study was submitted, shared by all studies with the same ones."""

    __tablename__ = "code_package"

    sha256: Mapped[str] = mapped_column(primary_key=True)  # of the content
    content: Mapped[bytes]  # see workers/user_code.py


class Study(Base):
    """A study: its definition, and the lease of the coordinator that runs it."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    state: Mapped[str] = mapped_column(insert_default="active")
    definition: Mapped[dict[str, Any]]
    body_hash: Mapped[str]  # tells a repeated submission from another one under the same name
    search_space_id: Mapped[int] = mapped_column(ForeignKey(SearchSpace.id))
    checked: Mapped[dict[str, Any]]  # report of the dry run that preceded the study
    code: Mapped[str | None] = mapped_column(ForeignKey(CodePackage.sha256))  # None: its workers have it
    owner: Mapped[str | None]  # the coordinator that holds the lease
    lease_until: Mapped[datetime | None]
    term: Mapped[int] = mapped_column(insert_default=0)  # grows with each claim
    active_seconds: Mapped[float] = mapped_column(server_default="0")  # in a coordinator's hands, not paused
    revision: Mapped[int] = mapped_column(insert_default=0)  # grows with each edit, so that its coordinator looks again
    waits: Mapped[str | None]  # why none of its trials runs although some could; kept by its coordinator
    reason: Mapped[str | None]  # why it ended
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())
    finished_at: Mapped[datetime | None]

    __table_args__ = (_state(states.STUDY), Index(None, "state"))


class Trial(Base):
    """One point of the search space, and what came of it."""

    __tablename__ = "trial"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey(Study.id))
    number: Mapped[int]  # 0, 1, 2, … in its study
    state: Mapped[str] = mapped_column(insert_default="queued")
    token: Mapped[int] = mapped_column(insert_default=0)  # of the latest attempt; 0: none yet
    params: Mapped[dict[str, Any]]
    notes: Mapped[dict[str, Any]]  # what the sampler wants to remember
    seed: Mapped[int] = mapped_column(BigInteger())
    value: Mapped[float | None]  # the objective; finite in a completed trial that can be best
    best_epoch: Mapped[int | None]
    weights: Mapped[int | None] = mapped_column(BigInteger())  # of its model, where the worker built it
    epochs: Mapped[int] = mapped_column(insert_default=0)  # the latest epoch that was reported
    cancel_at: Mapped[datetime | None]  # when a person asked for its end
    retry_at: Mapped[datetime | None]  # a queued trial is not started before this
    cause: Mapped[str | None]  # why it did not complete
    message: Mapped[str] = mapped_column(insert_default="")
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())
    started_at: Mapped[datetime | None]  # of the first attempt
    finished_at: Mapped[datetime | None]

    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        _state(states.TRIAL),
        Index(None, "study_id", "state", "value", "epochs"),  # to count trials and find the best without their rows
    )


class Attempt(Base):
    """One try at a trial. Its token guards everything that is written in its name."""

    __tablename__ = "attempt"

    trial_id: Mapped[int] = mapped_column(ForeignKey(Trial.id), primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)  # 1, 2, 3, … in its trial
    worker: Mapped[str]  # its name; the coordinator's until it has said how it trains
    lease_until: Mapped[datetime]
    heartbeat_at: Mapped[datetime] = mapped_column(insert_default=clock.now())
    started_at: Mapped[datetime] = mapped_column(insert_default=clock.now())
    ended_at: Mapped[datetime | None]
    cause: Mapped[str | None]
    process_end: Mapped[str | None]  # how its worker's process ended under it, e.g. "by signal SIGKILL"
    message: Mapped[str] = mapped_column(insert_default="")
    log: Mapped[str] = mapped_column(insert_default="")  # at most 64 KiB
    resumed_from: Mapped[int | None]  # epoch of the checkpoint it began with; None: began at epoch 0
    trained: Mapped[str | None]  # how its worker trains it, in words; None: it has not said so yet


def _of_attempt(*more: Any) -> tuple[Any, ...]:
    return (ForeignKeyConstraint(["trial_id", "token"], ["attempt.trial_id", "attempt.token"]), *more)


class Report(Base):
    """The metrics of one finished epoch of one attempt."""

    __tablename__ = "report"

    trial_id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)  # epochs finished so far, from 1
    metrics: Mapped[dict[str, Any]]  # keeps NaN and infinities
    objective: Mapped[float | None]  # NULL where it is missing or NaN
    seconds: Mapped[float]

    __table_args__ = _of_attempt(Index(None, "trial_id", "epoch"))


class Decision(Base):
    """Why a trial went on or was stopped at an epoch."""

    __tablename__ = "decision"

    trial_id: Mapped[int] = mapped_column(primary_key=True)
    token: Mapped[int] = mapped_column(primary_key=True)
    epoch: Mapped[int] = mapped_column(primary_key=True)
    action: Mapped[str]  # e.g. "continue", "stop"
    rule: Mapped[str]
    value: Mapped[float | None]  # what the trial had
    threshold: Mapped[float | None]  # what it was compared with
    rivals: Mapped[Any] = mapped_column(Json())  # the trials it was compared with
    reason: Mapped[str] = mapped_column(insert_default="")  # one sentence
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())

    __table_args__ = _of_attempt()


class Artifact(Base):
    """What a trial has in a folder of the artifact store. Trials that were trained together may share the folder."""

    __tablename__ = "artifact"

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int]
    token: Mapped[int]
    kind: Mapped[str]  # "checkpoint" or "model"
    epoch: Mapped[int]  # whose weights these are
    key: Mapped[str]  # the folder in the artifact store
    sha256: Mapped[str]  # of its manifest.json
    bytes: Mapped[int] = mapped_column(BigInteger())  # of the whole folder: count each key once
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())

    __table_args__ = _of_attempt(UniqueConstraint("key", "trial_id"), Index(None, "trial_id", "kind"))


class Model(Base):
    """A name under which models are served, and the folder that holds its versions."""

    __tablename__ = "model"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    directory: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())


class ModelVersion(Base):
    """One promotion. Its number is the name of its folder."""

    __tablename__ = "model_version"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int] = mapped_column(ForeignKey(Model.id))
    number: Mapped[int]
    state: Mapped[str] = mapped_column(insert_default="staging")
    trial_id: Mapped[int] = mapped_column(ForeignKey(Trial.id))
    path: Mapped[str]
    manifest_sha256: Mapped[str | None]
    scores: Mapped[dict[str, Any]]
    reason: Mapped[str | None]  # why it failed
    created_at: Mapped[datetime] = mapped_column(insert_default=clock.now())
    finished_at: Mapped[datetime | None]

    __table_args__ = (UniqueConstraint("model_id", "number"), _state(states.VERSION), Index(None, "trial_id"))


class ModelAlias(Base):
    """One move of an alias. The latest row of an alias says where it is; earlier ones are its history."""

    __tablename__ = "model_alias"

    id: Mapped[int] = mapped_column(primary_key=True)
    model_id: Mapped[int]
    alias: Mapped[str]
    version: Mapped[int]
    moved_at: Mapped[datetime] = mapped_column(insert_default=clock.now())

    __table_args__ = (
        ForeignKeyConstraint(["model_id", "version"], ["model_version.model_id", "model_version.number"]),
        Index(None, "model_id", "alias"),
    )


class Coordinator(Base):
    """A coordinator that serves the database, and what the nodes of its workers have."""

    __tablename__ = "coordinator"

    owner: Mapped[str] = mapped_column(primary_key=True)
    nodes: Mapped[dict[str, Any]]  # by name: {"CPU": 4.0, "GPU": 1.0}; empty: its cluster did not answer
    lease_until: Mapped[datetime]


class Event(Base):
    """Something that a person may want to read later."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int | None] = mapped_column(ForeignKey(Study.id))
    trial_id: Mapped[int | None] = mapped_column(ForeignKey(Trial.id))
    kind: Mapped[str]
    data: Mapped[dict[str, Any]]
    at: Mapped[datetime] = mapped_column(insert_default=clock.now())

    __table_args__ = (Index(None, "study_id"), Index(None, "trial_id"))
