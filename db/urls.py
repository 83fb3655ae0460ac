"""Database URLs: which ones are accepted, and how they are shown."""

from __future__ import annotations

import re
from pathlib import Path

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from db.errors import InvalidURL

EXAMPLES = "sqlite:///ockham.db or postgresql://USER:PASSWORD@HOST/NAME"

_DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


def parse(text: str) -> URL:
    """A URL that can be connected to. Raises InvalidURL, without showing a password."""
    shown = hide(text)
    if "://" not in text:
        hint = f" Did you mean sqlite:///{text}?" if text and "@" not in text else ""
        raise InvalidURL(f"The database URL {shown!r} has no scheme; expected {EXAMPLES}.{hint}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise InvalidURL(f"The database URL {shown!r} is malformed; expected {EXAMPLES}.") from None
    driver = _DRIVERS.get(url.drivername)
    if driver is None:
        raise InvalidURL(f"The database URL {shown!r} is of the unknown kind {url.drivername!r}; expected {EXAMPLES}.")
    return _sqlite(url, shown) if driver == "sqlite" else _postgresql(url.set(drivername=driver), shown)


def _sqlite(url: URL, shown: str) -> URL:
    if url.host:
        raise InvalidURL(f"The database URL {shown!r} has a slash too few; a relative file is sqlite:///FILE.")
    if not url.database or url.database == ":memory:":
        raise InvalidURL(f"The database URL {shown!r} names no file, and memory forgets; give sqlite:///ockham.db.")
    if url.database.startswith("file:") or url.query:
        raise InvalidURL(f"The database URL {shown!r} has options; a SQLite database takes none: sqlite:///FILE.")
    file = Path(url.database)
    if not file.parent.is_dir():
        raise InvalidURL(
            f"The folder {str(file.parent)!r} of {shown!r} does not exist; create it or name another file."
        )
    if file.is_dir():
        raise InvalidURL(f"The database URL {shown!r} names a folder; add a file: {shown.rstrip('/')}/ockham.db")
    return url


def _postgresql(url: URL, shown: str) -> URL:
    if not url.database:
        raise InvalidURL(f"The database URL {shown!r} names no database; expected {EXAMPLES}.")
    return url


def masked(url: URL) -> str:
    """The URL as the user wrote it, with every password as ***."""
    plain = url.set(drivername=url.get_backend_name())
    return hide(plain.render_as_string(hide_password=True))


def secrets(url: URL) -> tuple[str, ...]:
    """The passwords in a URL, longest first."""
    values = [] if url.password is None else [str(url.password)]
    for key, value in url.query.items():
        if "password" in key.lower():
            values += [value] if isinstance(value, str) else value
    return tuple(sorted(filter(None, values), key=len, reverse=True))


def hide(text: str) -> str:
    """A URL in whatever shape, with what may be a password as ***."""
    text = re.sub(r"(://[^:/?#]*:)(.*)(@)", r"\1***\3", text, flags=re.DOTALL)
    return re.sub(r"(?i)(password=)[^&#\s]*", r"\1***", text)
