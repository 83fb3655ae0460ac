"""The first line of a table: a column that is not there is told before anything starts."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path


def column_names(path: Path) -> list[str] | None:
    """The columns of a CSV or TSV file. None of another one, or where its first line leaves a doubt."""
    name = path.name.lower()
    separator = {".csv": ",", ".tsv": "\t"}.get(Path(name.removesuffix(".gz")).suffix)
    if separator is None:
        return None
    opened = gzip.open if name.endswith(".gz") else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", newline="") as file:
            names = next(csv.reader(file, delimiter=separator), [])
    except (OSError, EOFError, UnicodeError, csv.Error):
        return None
    return names if names and len(set(names)) == len(names) else None
