"""How results look: a table for a person, JSON for a program. Only this goes to stdout."""

from __future__ import annotations

import json
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import Any, Literal, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def output_option(command: Command) -> Command:
    """Add `--output table|json` to a command; its function receives `output`."""
    option = click.option(
        "--output",
        "-o",
        type=click.Choice(["table", "json"]),
        default="table",
        envvar="TUNER_OUTPUT",
        help="A table to read, or JSON for a program.",
    )
    return option(command)


def emit_json(value: Any) -> None:
    """Print one JSON document. NaN and infinities, which JSON does not know, become null."""
    click.echo(json.dumps(_plain(value), indent=2, ensure_ascii=False))


def emit_table(columns: Sequence[str], rows: Sequence[Sequence[object]], empty: str) -> None:
    """Print rows under headings, or the sentence `empty` where there are none."""
    if not rows:
        click.echo(empty)
        return
    numeric = [all(isinstance(row[index], (int, float, type(None))) for row in rows) for index in range(len(columns))]
    cells = [[short(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_fitted(columns, cells, numeric)
        return
    # Nothing is cut or wrapped: the reader is a file or another program.
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    for line in (columns, *cells):
        aligned = [
            f"{cell:>{width}}" if right else f"{cell:<{width}}"
            for cell, width, right in zip(line, widths, numeric, strict=True)
        ]
        click.echo("  ".join(aligned).rstrip())


def _print_fitted(columns: Sequence[str], cells: Sequence[Sequence[str]], numeric: Sequence[bool]) -> None:
    """A table as wide as the terminal, or several below each other. Long texts go on in the next line."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console(highlight=False)
    # Numbers stay whole; texts give way between words.
    needed = [
        max(len(part) for cell in column for part in ([cell] if right else cell.split() or [""]))
        for column, right in zip(zip(columns, *cells, strict=True), numeric, strict=True)
    ]
    for part, places in enumerate(_side_by_side(needed, console.width)):
        table = Table(box=None, pad_edge=False, header_style="bold")
        for place in places:
            justify: Literal["left", "right"] = "right" if numeric[place] else "left"
            table.add_column(columns[place], justify=justify, overflow="fold", min_width=needed[place])
        for line in cells:
            table.add_row(*(escape(line[place]) for place in places))
        if part:
            console.print()
        console.print(table)


def _side_by_side(needed: Sequence[int], room: int) -> list[list[int]]:
    """The places of the columns of each table: as many as there is room for, after the first, which is in all."""
    tables, used = [[0]], needed[0]
    for place in range(1, len(needed)):
        if len(tables[-1]) > 1 and used + 2 + needed[place] > room:
            tables.append([0])
            used = needed[0]
        tables[-1].append(place)
        used += 2 + needed[place]
    return tables


def emit_fields(fields: Mapping[str, object]) -> None:
    """Print one thing as aligned `name  value` lines; fields that are None or empty are left out."""
    shown = {name: value for name, value in fields.items() if value not in (None, "", {}, [])}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        text = "\n".join(_fitted(short(value), width + 2)).replace("\n", "\n" + " " * (width + 2))
        click.echo(f"{name:<{width}}  {text}")


def _fitted(text: str, indent: int) -> list[str]:
    """The lines of a text, broken between words where a terminal would break them anywhere."""
    if not sys.stdout.isatty():
        return [text]
    room = max(20, shutil.get_terminal_size().columns - indent)
    wrapped = [textwrap.wrap(line, room, break_long_words=False, break_on_hyphens=False) for line in text.splitlines()]
    return [line for lines in wrapped for line in lines or [""]]


def short(value: object) -> str:
    """A value as a person reads it: five significant digits, `name=value` pairs, seconds of a time."""
    if value is None:
        return ""
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return "  ".join(f"{key}={short(item)}" for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(short(item) for item in value)
    return str(value)


def duration(seconds: float | None) -> str:
    """`47 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds is None:
        return ""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    return value
