"""Columns that a table does not have are refused from its first line, and nothing that it may have."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest

from tuner.definitions.definition import parse
from tuner.definitions.table_header import column_names
from tuner.errors import InvalidStudy


def problems(folder: Path, **data: Any) -> tuple[str, ...]:
    form = {"name": "rents", "space": {"family": "mlp"}, "data": {"target": "rent", **data}}
    try:
        parse(form, folder)
    except InvalidStudy as refused:
        return tuple(refused.problems)
    return ()


def test_every_column_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "flats.csv").write_text("id,rent,rooms\n1,900,3\n")
    assert problems(tmp_path, path="flats.csv", exclude=["id"], features=["rooms"]) == ()
    assert problems(tmp_path, path="flats.csv", target="rnt", exclude=["idd"], weight="w") == (
        "`data.target` names 'rnt', which flats.csv does not have. Did you mean `rent`?",
        "`data.weight` names 'w', which flats.csv does not have. Its columns: id, rent, rooms.",
        "`data.exclude` names 'idd', which flats.csv does not have. Did you mean `id`?",
    )


@pytest.mark.parametrize(("name", "separator"), [("flats.csv", ";"), ("flats.csv", "\t"), ("flats.tsv", ";")])
def test_a_table_with_another_separator_is_told_which(tmp_path: Path, name: str, separator: str) -> None:
    (tmp_path / name).write_text(separator.join(["id", "rent", "rooms"]) + "\n")
    lacks = f"`data.target` names 'rent', which {name} does not have. Its first line is divided by {separator!r}; "
    assert problems(tmp_path, path=name) == (f"{lacks}expected commas in a .csv file, tabs in a .tsv file.",)


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("t.csv", '\ufeffid,"rent, warm",rooms\n', ["id", "rent, warm", "rooms"]),
        ("t.TSV", "id\trent\n", ["id", "rent"]),
        ("t.csv", "id,id\n", None),
        ("t.csv", "\n", None),
        ("t.parquet", "id,rent\n", None),
    ],
)
def test_what_a_first_line_says(tmp_path: Path, name: str, content: str, expected: list[str] | None) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert column_names(tmp_path / name) == expected


def test_a_compressed_table_and_one_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(b"id,rent\r\n1,2\r\n"))
    (tmp_path / "broken.csv.gz").write_bytes(b"id,rent\n")
    (tmp_path / "latin.csv").write_bytes("größe,rent\n".encode("latin-1"))
    assert column_names(tmp_path / "t.csv.gz") == ["id", "rent"]
    assert column_names(tmp_path / "broken.csv.gz") is column_names(tmp_path / "latin.csv") is None
