"""What can go wrong with the database, as a tree. Messages are sentences, and no password is in any of them."""

from __future__ import annotations


class DatabaseError(Exception):
    """Base of everything this package raises on purpose."""


class InvalidURL(DatabaseError, ValueError):
    """The database URL cannot be used: malformed, of an unknown dialect, or naming something that is no database."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached or did not answer in time; the same call may succeed later.

    The transaction was rolled back, unless the connection was cut during its commit: then it may have been done.
    """


class SchemaMismatch(DatabaseError):
    """The database's schema is not the one this version works with."""


class SchemaOutdated(SchemaMismatch):
    """The schema is older than this version of Ockham, or was never created."""

    def __init__(self, found: str | None, expected: str, url: str) -> None:
        self.found, self.expected = found, expected
        has = f"schema version {found}" if found else "no schema of ours"
        super().__init__(
            f"The database {url} has {has}, and this version of Ockham works with version {expected}. "
            "Bring it up to date with: tuner db upgrade"
        )


class SchemaNewer(SchemaMismatch):
    """The schema was written by a newer version of Ockham."""

    def __init__(self, found: str, expected: str, url: str) -> None:
        self.found, self.expected = found, expected
        super().__init__(
            f"The database {url} has schema version {found}, which is newer than version {expected} that this version "
            "of Ockham works with. Install the newer Ockham that wrote it; `tuner db upgrade` never goes backwards."
        )


class AlreadyExists(DatabaseError):
    """A row with this name exists already; nothing was changed."""

    def __init__(self, kind: str, name: str) -> None:
        self.kind, self.name = kind, name
        super().__init__(f"A {kind} named {name!r} exists already.")


class IllegalTransition(DatabaseError):
    """A state was asked for that the state machine does not allow. This is a mistake in the calling code."""
