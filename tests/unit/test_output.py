"""How results look: numbers, tables, fields, JSON."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from tuner.cli import top
from tuner.cli.output import duration, emit_fields, emit_json, emit_table, short


@dataclass(frozen=True)
class Thing:
    value: float
    at: datetime


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.123456789, "0.12346"),
        (float("nan"), "nan"),
        (1e-7, "1e-07"),
        (1234567, "1234567"),
        (True, "True"),
        ({"lr": 0.001, "units": 16, "activation": "relu"}, "lr=0.001  units=16  activation=relu"),
        (("champion", "next"), "champion, next"),
        ("text", "text"),
    ],
)
def test_values_as_a_person_reads_them(value: object, text: str) -> None:
    assert short(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0.04, "0.0 s"),
        (9.96, "10.0 s"),
        (47.4, "47 s"),
        (59.7, "1 min 0 s"),
        (200, "3 min 20 s"),
        (7530, "2 h 5 min"),
    ],
)
def test_durations(seconds: float | None, text: str) -> None:
    assert duration(seconds) == text


def test_json_has_no_nan_and_no_python_types(capsys: pytest.CaptureFixture[str]) -> None:
    at = datetime(2026, 11, 24, 12, tzinfo=UTC)
    emit_json([Thing(float("inf"), at), {"a": (1, float("nan"))}, {3: "ü"}])
    printed = capsys.readouterr().out
    assert json.loads(printed, parse_constant=lambda name: pytest.fail(name)) == [
        {"value": None, "at": "2026-11-24T12:00:00+00:00"},
        {"a": [1, None]},
        {"3": "ü"},
    ]
    assert "ü" in printed


def test_a_table_without_a_terminal_is_neither_cut_nor_padded(capsys: pytest.CaptureFixture[str]) -> None:
    emit_table(("trial", "state", "value"), [(0, "complete", 0.5), (10, "x" * 300, None)], "nothing")
    assert capsys.readouterr().out.splitlines() == [
        f"trial  state{' ' * 295}  value",
        f"    0  complete{' ' * 292}    0.5",
        f"   10  {'x' * 300}",
    ]


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    emit_table(("trial",), [], "There is no trial yet.")
    assert capsys.readouterr().out == "There is no trial yet.\n"


def test_a_table_on_a_narrow_terminal_folds_texts_and_keeps_numbers(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "40")
    row: tuple[Any, ...] = (3, 0.123456789, "learning_rate=0.0012345  activation=[relu]")
    emit_table(("trial", "value", "parameters"), [row], "")
    _, *lines = capsys.readouterr().out.splitlines()
    assert all(len(line) <= 40 for line in lines)
    assert lines[0].split()[:2] == ["3", "0.12346"]
    assert "[relu]" in "".join(line.strip() for line in lines)


def test_a_table_with_no_room_for_its_numbers_goes_on_below(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "30")
    emit_table(("epoch", "val_data_loss", "val_penalty"), [(1, 0.24616, 7.4078e-05), (2, 0.2, 1e-05)], "")
    plain = re.sub(r"\x1b\[\d+m", "", capsys.readouterr().out)
    assert [line.split() for line in plain.splitlines()] == [
        ["epoch", "val_data_loss"],
        ["1", "0.24616"],
        ["2", "0.2"],
        [],
        ["epoch", "val_penalty"],
        ["1", "7.4078e-05"],
        ["2", "1e-05"],
    ]


def test_a_page_shows_as_many_columns_as_it_has_room_for() -> None:
    row = ("a-study-of-some-length", 12, "2 of 2 workers are used by another one")
    shown = {width: _shown(("study", "done", "waits"), row, width) for width in (30, 34, 60, 80)}
    assert shown[30] == ["a-study-of-some-length    12"]
    assert shown[34] == ["a-study-of-some-length    12"]
    assert shown[60] == ["a-study-of-some-length    12  2 of 2 workers are used by an…"]
    assert shown[80] == ["a-study-of-some-length    12  2 of 2 workers are used by another one"]


def _shown(headings: tuple[str, ...], row: tuple[object, ...], width: int) -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(top._table(headings, [row], width))
    return [line.rstrip() for line in captured.get().splitlines()[1:]]


def test_fields_are_aligned_and_empty_ones_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    emit_fields({"study": "digits", "failures": {}, "best": None, "zero": 0, "message": "one\ntwo"})
    assert capsys.readouterr().out == "study    digits\nzero     0\nmessage  one\n         two\n"


def test_fields_on_a_narrow_terminal_break_between_words(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "40")
    emit_fields({"best": {"learning_rate": 0.0012345, "optimizer": "adamw"}, "path": "/" + "x" * 60})
    assert capsys.readouterr().out.splitlines() == [
        "best  learning_rate=0.0012345",
        "      optimizer=adamw",
        "path  /" + "x" * 60,
    ]
