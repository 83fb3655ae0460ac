"""Packages of users' Python files, one row per content. What is in one: workers/user_code.py."""

from __future__ import annotations

import hashlib

from sqlalchemy import select
from sqlalchemy.orm import Session

from db import dialects
from db.tables import CodePackage, table


def put(s: Session, content: bytes) -> str:
    """The SHA-256 of a package, which is stored now if it was not yet."""
    sha256 = hashlib.sha256(content).hexdigest()
    statement = dialects.insert(s, table(CodePackage)).values(sha256=sha256, content=content)
    s.execute(statement.on_conflict_do_nothing(index_elements=["sha256"]))
    return sha256


def content(s: Session, sha256: str) -> bytes | None:
    """The package; None where no study has it any more."""
    return s.scalars(select(CodePackage.content).where(CodePackage.sha256 == sha256)).one_or_none()


def all_sha256(s: Session) -> set[str]:
    """The SHA-256 of every package."""
    return set(s.scalars(select(CodePackage.sha256)))
