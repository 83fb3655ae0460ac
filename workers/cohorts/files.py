"""The members of a stack as files, and one of them back: its rows and its progress. Only numbers are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workers import member_arrays
from workers.keras_files import PROGRESS, NotThisModel
from workers.progress import Progress

ROWS = "rows.npz"
COUNT = 4  # weights, best weights, two slots of the optimizer


def content(rows: Mapping[int, Sequence[np.ndarray]], progress: Mapping[int, Progress]) -> dict[str, bytes | Path]:
    """The files of running members, both by trial number."""
    described = {trial: item.to_json() for trial, item in progress.items()}
    return {ROWS: member_arrays.pack(rows), PROGRESS: json.dumps(described).encode()}


def read(folder: Path, trial: int, size: int) -> tuple[list[np.ndarray], Progress]:
    """A member's rows (size,) and progress. Raises NotThisModel, also for a checkpoint that was not written here."""
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text())[str(trial)])
        rows = member_arrays.unpack(folder / ROWS, trial)
    except Exception as error:  # zipfile, NumPy and json each raise their own kinds
        raise NotThisModel(f"{type(error).__name__}: {error}"[:500]) from error
    if [(row.shape, row.dtype) for row in rows] != [((size,), np.dtype("float32"))] * COUNT:
        raise NotThisModel(f"its rows have the shapes {[row.shape for row in rows]}; expected ({size},) {COUNT} times.")
    return rows, progress
