"""The database's clock, as SQL. Leases are written and compared with it alone: hosts' clocks may disagree.

Both dialects answer with at least a millisecond's resolution, and with the time of the statement, not of the
transaction's start.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Float, bindparam, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from db.types import Moment


class _Clock(FunctionElement[datetime]):
    """`_Clock()` is now; `_Clock(seconds)` is that many seconds from now."""

    name = "ockham_clock"
    type = Moment()
    inherit_cache = True


@compiles(_Clock, "sqlite")
def _sqlite(element: _Clock, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    shift = f", printf('%+.3f seconds', {seconds})" if seconds else ""
    return f"(strftime('%Y-%m-%d %H:%M:%f', 'now'{shift}) || '000')"  # six digits, as SQLAlchemy writes and reads them


@compiles(_Clock, "postgresql")
def _postgresql(element: _Clock, compiler: SQLCompiler, **kw: Any) -> str:
    seconds = compiler.process(element.clauses, **kw)
    return f"(clock_timestamp() + make_interval(secs => {seconds}))" if seconds else "clock_timestamp()"


class _SecondsBetween(FunctionElement[float]):
    """Seconds from the first moment to the second."""

    name = "ockham_seconds_between"
    type = Float()
    inherit_cache = True


@compiles(_SecondsBetween, "sqlite")
def _sqlite_seconds(element: _SecondsBetween, compiler: SQLCompiler, **kw: Any) -> str:
    start, stop = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"((julianday({stop}) - julianday({start})) * 86400.0)"  # exact to 0.1 ms


@compiles(_SecondsBetween, "postgresql")
def _postgresql_seconds(element: _SecondsBetween, compiler: SQLCompiler, **kw: Any) -> str:
    start, stop = (compiler.process(clause, **kw) for clause in element.clauses)
    return f"extract(epoch FROM {stop} - {start})::float8"


def seconds_between(start: Any, stop: Any) -> ColumnElement[float]:
    """Seconds from one moment to another."""
    return _SecondsBetween(start, stop)


def now() -> ColumnElement[datetime]:
    """The current time."""
    return _Clock()


def later(seconds: float) -> ColumnElement[datetime]:
    """The time `seconds` from now."""
    return _Clock(bindparam(None, float(seconds), Float()))


def read(s: Session) -> datetime:
    """What the database's clock shows."""
    return s.scalars(select(now())).one()
