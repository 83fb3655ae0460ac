"""Database URLs: bad ones are refused with a sentence, and passwords are never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from db import urls
from db.engine import connect
from db.errors import InvalidURL

SECRET = "hun/ter@2"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "no scheme"),
        ("study.db", "sqlite:///study.db"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://study.db", "slash too few"),
        ("sqlite:///study.db?mode=ro", "takes none"),
        ("sqlite:////nowhere/at/all/study.db", "/nowhere/at/all"),
        ("mysql://root@localhost/studies", "'mysql'"),
        ("postgresql+psycopg2://localhost/studies", "'postgresql+psycopg2'"),
        ("postgresql://localhost", "names no database"),
        ("postgresql://localhost:port/studies", "malformed"),
        ("://", "malformed"),
    ],
)
def test_a_bad_url_is_refused_with_a_sentence(url: str, hint: str) -> None:
    with pytest.raises(InvalidURL) as refusal:
        connect(url)
    assert hint in str(refusal.value)
    assert repr(url) in str(refusal.value)
    assert "sqlite:///" in str(refusal.value)


def test_a_folder_is_no_database(tmp_path: Path) -> None:
    with pytest.raises(InvalidURL, match="folder"):
        connect(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://ada:{SECRET}@localhost/studies",
        f"postgres://ada:{SECRET}@localhost:port/studies",
        f"mysql://ada:{SECRET}@localhost/studies",
        f"postgresql://localhost/?user=ada&password={SECRET}&sslmode=require",
        f"postgresql://localhost:port/studies?sslpassword={SECRET}",
    ],
)
def test_no_password_is_in_a_refusal_or_in_what_is_shown(url: str) -> None:
    try:
        shown = connect(url).url
    except InvalidURL as error:
        shown = f"{error} {error!r} {error.__cause__}"
    assert SECRET not in shown
    assert "ter@2" not in shown
    assert "***" in shown


def test_the_shown_url_keeps_everything_else() -> None:
    url = "postgresql://ada:pass%40word@db.example:5433/studies?sslmode=require&password=other"
    assert connect(url).url == "postgresql://ada:***@db.example:5433/studies?password=***&sslmode=require"
    assert connect("postgres://localhost/studies").url == "postgresql://localhost/studies"
    assert urls.secrets(urls.parse(url)) == ("pass@word", "other")


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_postgresql_is_spoken_through_psycopg(scheme: str) -> None:
    assert urls.parse(f"{scheme}://localhost/studies").drivername == "postgresql+psycopg"
