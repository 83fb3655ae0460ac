"""Promoted models: versions, and the aliases that say which one is served.

A version begins as "staging" when its number is reserved, and ends as "ready" once its folder is in place, or as
"failed". Numbers only grow. An alias is a history of moves: nothing is overwritten, so the way back is known.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from db import clock, dialects, states
from db.errors import IllegalTransition
from db.tables import Model, ModelAlias, ModelVersion, Study, Trial, table
from db.types import clean


def ensure(s: Session, name: str, directory: str) -> Model:
    """The model of this name, made now if there is none. `directory` is where its versions' folders are."""
    statement = dialects.insert(s, table(Model)).values(name=name, directory=directory)
    s.execute(statement.on_conflict_do_nothing(index_elements=["name"]))
    return get(s, name)


def find(s: Session, name: str) -> Model | None:
    """The model of this name."""
    return s.scalars(select(Model).where(Model.name == name)).one_or_none()


def get(s: Session, name: str) -> Model:
    """The model of this name; there must be one."""
    return s.scalars(select(Model).where(Model.name == name)).one()


def listing(s: Session) -> list[Model]:
    """All models by name."""
    return list(s.scalars(select(Model).order_by(Model.name)))


# --- versions -------------------------------------------------------------------------------------------------------


def reserve(s: Session, model_id: int, trial_id: int, path_of: Callable[[int], str], *, above: int = 0) -> ModelVersion:
    """A new version in state "staging". Its number is greater than every other one's and than `above`.

    Args:
        path_of: the final folder of a version, by its number.
        above: the greatest number that is taken on the disk, by whomever.
    """
    s.execute(select(Model.id).where(Model.id == model_id).with_for_update())  # two promotions at once take turns
    numbers = select(func.max(ModelVersion.number)).where(ModelVersion.model_id == model_id)
    number = max(s.scalars(numbers).one() or 0, above) + 1
    values = {"model_id": model_id, "trial_id": trial_id, "number": number, "path": path_of(number), "scores": {}}
    return s.scalars(insert(ModelVersion).values(values).returning(ModelVersion)).one()


def ready(s: Session, version_id: int, manifest_sha256: str, scores: dict[str, Any]) -> ModelVersion:
    """Mark a version whose folder is in place. Raises IllegalTransition when it is not staging."""
    return _leave(s, version_id, "ready", manifest_sha256=manifest_sha256, scores=scores)


def fail(s: Session, version_id: int, reason: str) -> ModelVersion:
    """Mark a version that came to nothing. Raises IllegalTransition when it is not staging."""
    return _leave(s, version_id, "failed", reason=clean(reason))


def versions(s: Session, model_name: str) -> list[ModelVersion]:
    """The model's versions by number."""
    rows = select(ModelVersion).join(Model, Model.id == ModelVersion.model_id).where(Model.name == model_name)
    return list(s.scalars(rows.order_by(ModelVersion.number)))


def origins(s: Session, model_name: str) -> list[tuple[ModelVersion, str, int]]:
    """The model's versions by number, each with the name of the study and the number of the trial it was made of."""
    rows = select(ModelVersion, Study.name, Trial.number).join(Trial, Trial.id == ModelVersion.trial_id)
    rows = rows.join(Study, Study.id == Trial.study_id).join(Model, Model.id == ModelVersion.model_id)
    found = s.execute(rows.where(Model.name == model_name).order_by(ModelVersion.number))
    return [(version, study, trial) for version, study, trial in found]


def ready_numbers(s: Session, model_id: int) -> list[int]:
    """Numbers of the versions that can be served, in order."""
    rows = select(ModelVersion.number).where(ModelVersion.model_id == model_id, ModelVersion.state == "ready")
    return list(s.scalars(rows.order_by(ModelVersion.number)))


def _leave(s: Session, version_id: int, state: str, **values: Any) -> ModelVersion:
    allowed = ModelVersion.state.in_(states.sources(states.VERSION, state))
    statement = update(table(ModelVersion)).where(ModelVersion.id == version_id, allowed)
    done = s.scalars(statement.values(state=state, finished_at=clock.now(), **values).returning(ModelVersion.id))
    version = s.scalars(select(ModelVersion).where(ModelVersion.id == version_id)).one() if done.one_or_none() else None
    if version is None:
        raise IllegalTransition(f"The model version with id {version_id} is not staging, so it cannot become {state}.")
    return version


# --- aliases --------------------------------------------------------------------------------------------------------


def set_alias(s: Session, model_id: int, alias: str, number: int) -> bool:
    """Point an alias at a version. False: there is no such version, or it is not ready.

    An alias that points there already is left alone: its history has no move.
    """
    s.execute(select(Model.id).where(Model.id == model_id).with_for_update())
    if number not in ready_numbers(s, model_id):
        return False
    if aliases(s, model_id).get(alias) != number:
        s.execute(insert(table(ModelAlias)).values(model_id=model_id, alias=alias, version=number))
    return True


def aliases(s: Session, model_id: int) -> dict[str, int]:
    """Where every alias of the model points now."""
    rows = select(ModelAlias.alias, ModelAlias.version).where(ModelAlias.model_id == model_id)
    return dict(s.execute(rows.order_by(ModelAlias.id)).all())


def previous(s: Session, model_id: int, alias: str) -> int | None:
    """The version that the alias goes back to from its current one; None where there is none.

    A move to where the last one came from goes back, so that another step back leads further: after 1, 2, 3 and a move
    back to 2 it is 1.
    """
    mine = (ModelAlias.model_id == model_id, ModelAlias.alias == alias)
    way: list[int] = []
    for version in s.scalars(select(ModelAlias.version).where(*mine).order_by(ModelAlias.id)):
        if way[-2:-1] == [version]:
            way.pop()
        else:
            way.append(version)
    return way[-2] if len(way) > 1 else None
