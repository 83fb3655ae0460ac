"""A member of a stack as files, and back: its rows and its progress. Only numbers are read."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from workers.keras_files import PROGRESS, NotThisModel
from workers.progress import Progress

ROWS = "rows.npz"
COUNT = 4  # weights, best weights, two slots of the optimizer


def content(rows: Sequence[np.ndarray], progress: Progress) -> dict[str, bytes | Path]:
    """The files of a running member."""
    buffer = io.BytesIO()
    np.savez(buffer, *rows)
    return {ROWS: buffer.getvalue(), PROGRESS: json.dumps(progress.to_json()).encode()}


def read(folder: Path, size: int) -> tuple[tuple[np.ndarray, ...], Progress]:
    """The rows (size,) and the progress. Raises NotThisModel, also for a checkpoint that was not written here."""
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text()))
        with np.load(folder / ROWS, allow_pickle=False) as archive:
            rows = tuple(archive[f"arr_{number}"] for number in range(COUNT))
    except Exception as error:  # zipfile, NumPy and json each raise their own kinds
        raise NotThisModel(f"{type(error).__name__}: {error}"[:500]) from error
    if any(row.shape != (size,) or row.dtype != "float32" for row in rows):
        raise NotThisModel(f"its rows have the shapes {[row.shape for row in rows]}; expected ({size},) each.")
    return rows, progress
