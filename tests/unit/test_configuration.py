"""Settings from `TUNER_*`: defaults, which source wins, sentences that name the variable, and no secret shown."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tuner.configuration import Settings, masked
from tuner.errors import InvalidInput

SECRET = "hunter2"


@pytest.fixture(autouse=True)
def _inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_everything_has_a_default_under_the_current_folder(tmp_path: Path) -> None:
    assert Settings.load({}) == Settings(
        home=tmp_path / "ockham",
        database=f"sqlite:///{tmp_path}/ockham/ockham.db",
        artifacts=tmp_path / "ockham" / "artifacts",
        models=tmp_path / "ockham" / "models",
        launcher="ray",
        ray_address=None,
        workers=None,
        import_paths=(str(tmp_path),),
        log_level="info",
        log_format="text",
        metrics=None,
    )
    assert not (tmp_path / "ockham").exists()


def test_home_moves_what_is_not_set_itself(tmp_path: Path) -> None:
    found = Settings.load({"TUNER_HOME": "~/x", "TUNER_MODELS": "served"})
    home = Path("~/x").expanduser()
    assert (found.home, found.artifacts, found.models) == (home, home / "artifacts", tmp_path / "served")
    assert found.database == f"sqlite:///{home}/ockham.db"


def test_the_environment_of_the_process_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNER_LAUNCHER", "Inline")
    assert Settings.load().launcher == "inline"


def test_overrides_win_and_none_is_no_override() -> None:
    environment = {"TUNER_LAUNCHER": "inline", "TUNER_WORKERS": "3", "TUNER_LOG_LEVEL": "DEBUG"}
    found = Settings.load(environment, launcher="processes", workers=None)
    assert (found.launcher, found.workers, found.log_level) == ("processes", 3, "debug")
    assert Settings.load(environment, workers=7).workers == 7


def test_an_empty_variable_counts_as_unset() -> None:
    empty = dict.fromkeys(("TUNER_HOME", "TUNER_DATABASE", "TUNER_WORKERS", "TUNER_RAY_ADDRESS", "TUNER_LAUNCHER"), " ")
    assert Settings.load(empty) == Settings.load({})


def test_import_paths_are_written_like_path(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    found = Settings.load({"TUNER_IMPORT_PATHS": os.pathsep.join(["a", "", str(tmp_path)])})
    assert found.import_paths == (str(tmp_path / "a"), str(tmp_path))
    assert Settings.load({}, import_paths=[tmp_path / "a"]).import_paths == (str(tmp_path / "a"),)


@pytest.mark.parametrize("address", ["auto", "local", "10.0.0.1:6379", "ray://head:10001"])
def test_ray_addresses(address: str) -> None:
    assert Settings.load({"TUNER_RAY_ADDRESS": address}).ray_address == address


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///ockham.db",
        "sqlite:////var/ockham.db",
        "sqlite+pysqlite:///x.db",
        "postgresql://me@host/ockham",
        "postgresql+psycopg://me:hunter2@host:5433/ockham?sslmode=require",
        "postgresql:///ockham?host=/run/postgresql",
    ],
)
def test_database_urls(url: str) -> None:
    assert Settings.load({"TUNER_DATABASE": url}).database == url


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("TUNER_LAUNCHER", "rya", ["'rya'", "ray, inline, processes", "`ray`"]),
        ("TUNER_LOG_LEVEL", "verbose", ["'verbose'", "debug, info"]),
        ("TUNER_LOG_FORMAT", "jsonl", ["'jsonl'", "text, json", "Did you mean `json`?"]),
        ("TUNER_METRICS", "everywhere", ["'everywhere'", "HOST:PORT"]),
        ("TUNER_METRICS", "127.0.0.1:70000", ["70000", "65535"]),
        ("TUNER_WORKERS", "0", ["'0'", "from 1"]),
        ("TUNER_WORKERS", "many", ["'many'", "whole number"]),
        ("TUNER_WORKERS", "9" * 5000, ["10,000"]),
        ("TUNER_WORKERS", "1.5", ["'1.5'"]),
        ("TUNER_RAY_ADDRESS", "http://host/x", ["HOST:PORT", "ray://"]),
        ("TUNER_RAY_ADDRESS", "a b:1", ["HOST:PORT"]),
        ("TUNER_HOME", "file", ["file", "folder"]),
        ("TUNER_ARTIFACTS", "a\0b", ["\\x00", "folder"]),
        ("TUNER_IMPORT_PATHS", "nowhere", ["nowhere", "exist"]),
        ("TUNER_DATABASE", "ockham.db", ["'ockham.db'", "sqlite:///"]),
        ("TUNER_DATABASE", "mysql://me:hunter2@host/x", ["mysql://me:***@host/x", "sqlite or postgresql"]),
        ("TUNER_DATABASE", "postgres://me:hunter2@host/x", ["`postgresql`"]),
        ("TUNER_DATABASE", "sqlite://ockham.db", ["sqlite:///FILE"]),
        ("TUNER_DATABASE", "postgresql://me:hunter2@host:port/x", ["port"]),
        ("TUNER_DATABASE", "postgresql://me:hunter2@/x", ["host"]),
        ("TUNER_DATABASE", "postgresql://me:hunter2@host:99999/x?password=hunter2", ["port", "password=***"]),
        ("TUNER_DATABASE", "me:hunter2@host/x", ["URL"]),
        ("TUNER_DATABASE", "\x1b[2J://x", ["\\x1b"]),
    ],
)
def test_refuses_a_variable(tmp_path: Path, name: str, value: str, words: list[str]) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInput) as caught:
        Settings.load({name: value})
    sentence = str(caught.value)
    assert sentence.startswith(f"{name} is ")
    assert sentence.isprintable()
    assert SECRET not in sentence
    assert all(word in sentence for word in words), sentence


def test_all_mistakes_at_once_each_named_by_where_it_was_made() -> None:
    with pytest.raises(InvalidInput) as caught:
        Settings.load({"TUNER_LAUNCHER": "rya", "TUNER_WORKERS": "0"}, log_level="loud")
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("TUNER_LAUNCHER is")
    assert second.startswith("TUNER_WORKERS is")
    assert third.startswith("`log_level` is")


@pytest.mark.parametrize("value", [True, 0, -1, "x", 2.5])
def test_refuses_an_override(value: Any) -> None:
    with pytest.raises(InvalidInput, match="`workers` is"):
        Settings.load({}, workers=value)


def test_refuses_an_unknown_override() -> None:
    with pytest.raises(InvalidInput, match="Did you mean `workers`"):
        Settings.load({}, worker=3)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:hunter2@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me:hun@ter2:/@host/x", "postgresql://me:***@host/x"),
        ("postgresql://me@host/x?password=hunter2&sslmode=require", "postgresql://me@host/x?password=***&sslmode=***"),
        ("me:hunter2@host/x", "***"),
        ("sqlite:///x.db", "sqlite:///x.db"),
    ],
)
def test_masks_what_may_be_secret(url: str, shown: str) -> None:
    assert masked(url) == shown


def test_safe_settings_show_no_secret(tmp_path: Path) -> None:
    found = Settings.load({"TUNER_DATABASE": "postgresql://me:hunter2@host/x?password=hunter2"})
    shown = found.safe()
    assert SECRET not in str(shown)
    assert shown["home"] == str(tmp_path / "ockham")
    assert all(isinstance(value, str) for value in shown.values())
