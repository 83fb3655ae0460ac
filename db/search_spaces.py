"""Search spaces as rows of their own, one per content hash, shared by studies."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from db import dialects
from db.tables import SearchSpace, SearchSpaceParameter, table

_FIELDS = {"schema", "family", "parameters"}


def put(s: Session, form: dict[str, Any], hash: str) -> int:  # noqa: A002
    """The id of the space with this hash, stored now if it was not yet.

    Args:
        form: `{"schema": 1, "family": str | None, "parameters": {name: {"type": …, …}}}`.
        hash: SHA-256 of the form's canonical JSON.
    """
    unknown = set(form) - _FIELDS
    if unknown:
        raise ValueError(f"The form of a search space has {sorted(unknown)}; expected only {sorted(_FIELDS)}.")
    values = {"hash": hash, "schema": form["schema"], "family": form.get("family")}
    statement = dialects.insert(s, table(SearchSpace)).values(values).on_conflict_do_nothing(index_elements=["hash"])
    id = s.scalars(statement.returning(SearchSpace.id)).one_or_none()  # noqa: A001
    if id is None:
        return s.scalars(select(SearchSpace.id).where(SearchSpace.hash == hash)).one()
    rows = [
        _row(id, position, name, dict(domain)) for position, (name, domain) in enumerate(form["parameters"].items())
    ]
    if rows:
        s.execute(insert(table(SearchSpaceParameter)), rows)
    return id


def get(s: Session, id: int) -> dict[str, Any]:  # noqa: A002
    """The form that `put` was given, parameters in their order."""
    space = s.get_one(SearchSpace, id)
    parameters = select(SearchSpaceParameter).where(SearchSpaceParameter.search_space_id == id)
    rows = s.scalars(parameters.order_by(SearchSpaceParameter.position))
    return {"schema": space.schema, "family": space.family, "parameters": {row.name: _form(row) for row in rows}}


def _row(id: int, position: int, name: str, domain: dict[str, Any]) -> dict[str, Any]:  # noqa: A002
    kind, condition = domain.pop("type"), domain.pop("when", None)
    space = {"search_space_id": id, "position": position}
    return {**space, "name": name, "type": kind, "domain": domain, "condition": condition}


def _form(row: SearchSpaceParameter) -> dict[str, Any]:
    when = {} if row.condition is None else {"when": row.condition}
    return {"type": row.type, **row.domain, **when}
