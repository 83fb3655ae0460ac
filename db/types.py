"""How values are stored so that both dialects give back exactly what they were given."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Dialect, Double, Text, and_
from sqlalchemy.orm import InstrumentedAttribute
from sqlalchemy.types import TypeDecorator

LOG_BYTES = 64 * 1024  # an attempt's log is cut to its last 64 KiB

_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_RESERVED = re.compile(r"\\*(NaN|-?Infinity)")


class Json(TypeDecorator[Any]):
    """Plain JSON text. NaN and infinities are the strings "NaN", "Infinity" and "-Infinity", and come back as floats.

    A string that reads like one of them is stored with a backslash in front, so it comes back as that string.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:  # noqa: ARG002
        return None if value is None else encode(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:  # noqa: ARG002
        return None if value is None else decode(value)


class Moment(TypeDecorator[datetime]):
    """A point in time: an aware datetime in UTC, whatever the session's time zone is."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"The time {value.isoformat()} has no time zone; give an aware datetime.")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Number(TypeDecorator[float]):
    """A double in a column that is ordered and compared. Infinities are kept; NaN, which has no order, is NULL.

    SQLite forgets the sign of -0.0. What must be bit-equal is JSON.
    """

    impl = Double
    cache_ok = True

    def process_bind_param(self, value: float | None, dialect: Dialect) -> float | None:  # noqa: ARG002
        return None if value is None or math.isnan(value) else float(value)


def finite(column: InstrumentedAttribute[float | None]) -> ColumnElement[bool]:
    """Whether a number is one: not NULL (which stands for NaN too) and not infinite."""
    return and_(column > float("-inf"), column < float("inf"))


def encode(value: Any) -> str:
    """JSON text of a value, with non-finite floats as strings."""
    try:
        text = json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_each(value, _escape), allow_nan=False)
    return json.dumps(_each(value, _escape), allow_nan=False) if _suspicious(text) else text


def decode(text: str) -> Any:
    """The value that `encode` was given."""
    value = json.loads(text)
    return _each(value, _unescape) if _suspicious(text) else value


def clean(text: str) -> str:
    """The text without what PostgreSQL refuses to store: NUL and lone surrogates."""
    return text.replace("\x00", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")


def tail(log: str) -> str:
    """The last 64 KiB of a log, where a traceback has its error."""
    return clean(log).encode()[-LOG_BYTES:].decode("utf-8", "ignore")


def _suspicious(text: str) -> bool:
    return 'NaN"' in text or 'Infinity"' in text


def _escape(value: Any) -> Any:
    if isinstance(value, str) and _RESERVED.fullmatch(value):
        return "\\" + value
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def _unescape(value: Any) -> Any:
    if not isinstance(value, str) or not _RESERVED.fullmatch(value):
        return value
    return _NON_FINITE.get(value, value[1:])


def _each(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, dict):
        return {key: _each(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_each(item, change) for item in value]
    return change(value)
