"""One page for a browser, which holds all that it shows: it can be sent to somebody and opens without a network."""

from __future__ import annotations

import html
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tuner.errors import InvalidInput

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #22303c; max-width: 1080px; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem } h2 { font-size: 1.1rem; margin-top: 2rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { text-align: left; padding: .25rem .9rem .25rem 0; border-bottom: 1px solid #e3e8ee; vertical-align: top }
.rows td { white-space: nowrap }
.plot { overflow-x: auto }
"""


def page(title: str, parts: Sequence[str], figures: Sequence[Any]) -> str:
    """The whole page. `parts`: HTML above the figures."""
    drawn = [figure.to_html(full_html=False, include_plotlyjs=not place) for place, figure in enumerate(figures)]
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body><h1>{html.escape(title)}</h1>",
            *parts,
            *(f'<div class="plot">{figure}</div>' for figure in drawn),
            "</body></html>",
        ]
    )


def paragraph(sentence: str) -> str:
    return f"<p>{html.escape(sentence)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [[f"<th>{html.escape(item)}</th>" for item in head]] if head else []
    lines += [[f"<td>{html.escape(str(item))}</td>" for item in row] for row in rows]
    kind = ' class="rows"' if head else ""
    return f"<table{kind}>" + "".join(f"<tr>{''.join(line)}</tr>" for line in lines) + "</table>"


def save(path: Path, text: str) -> Path:
    """Write the file as a whole or not at all. Raises InvalidInput where that is not possible."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidInput(
            f"The report cannot be written to {str(path)!r}: {error.strerror}. Name another file: --file PATH"
        ) from error
    return path
