"""Coordinators that serve the database. Each says again and again that it is there, and what its nodes have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from db import clock, dialects
from db.tables import Coordinator, table


def beat(s: Session, owner: str, nodes: Mapping[str, Any], seconds: float) -> None:
    """Say that `owner` is there for `seconds` from now, with these nodes; forget those that were silent for longer."""
    s.execute(delete(table(Coordinator)).where(Coordinator.lease_until <= clock.now()))
    values = {"nodes": dict(nodes), "lease_until": clock.later(seconds)}
    statement = dialects.insert(s, table(Coordinator)).values(owner=owner, **values)
    s.execute(statement.on_conflict_do_update(index_elements=["owner"], set_=values))


def leave(s: Session, owner: str) -> None:
    """Forget a coordinator that ends."""
    s.execute(delete(table(Coordinator)).where(Coordinator.owner == owner))


def nodes(s: Session) -> dict[str, Any] | None:
    """What the nodes of all coordinators that are there have; None where there is none."""
    found = s.scalars(select(Coordinator.nodes).where(Coordinator.lease_until > clock.now())).all()
    return (
        {f"{number}:{name}": node for number, offer in enumerate(found) for name, node in offer.items()}
        if found
        else None
    )
