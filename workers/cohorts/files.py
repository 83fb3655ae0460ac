"""The members of a stack as files, and one of them back: its rows and its progress. Only numbers are read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from workers.trials import member_arrays
from workers.trials.keras_files import PROGRESS, NotThisModel
from workers.trials.progress import Progress

ROWS = "rows.npz"


def content(rows: Mapping[int, Sequence[np.ndarray]], progress: Mapping[int, Progress]) -> dict[str, bytes | Path]:
    """The files of running members, both by trial number; rows: weights, best weights and the optimizer's slots."""
    described = {trial: item.to_json() for trial, item in progress.items()}
    return {ROWS: member_arrays.pack(rows), PROGRESS: json.dumps(described).encode()}


def read(folder: Path, trial: int, shapes: Sequence[tuple[int, ...]]) -> tuple[list[np.ndarray], Progress]:
    """A member's rows, whose shapes are expected to be these, and its progress. Raises NotThisModel."""
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text())[str(trial)])
        rows = member_arrays.unpack(folder / ROWS, trial)
    except Exception as error:  # zipfile, NumPy and json each raise their own kinds
        raise NotThisModel(f"{type(error).__name__}: {error}"[:500]) from error
    found = [row.shape for row in rows]
    if found != list(shapes) or any(row.dtype != "float32" for row in rows):
        raise NotThisModel(f"its rows have the shapes {found}; expected {list(shapes)}.")
    return rows, progress
