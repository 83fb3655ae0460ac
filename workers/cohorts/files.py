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


def content(rows: Sequence[np.ndarray], progress: Progress) -> dict[str, bytes | Path]:
    """The files of a running member: weights, best weights and the optimizer's slots."""
    buffer = io.BytesIO()
    np.savez(buffer, *rows)
    return {ROWS: buffer.getvalue(), PROGRESS: json.dumps(progress.to_json()).encode()}


def read(folder: Path, shapes: Sequence[tuple[int, ...]]) -> tuple[tuple[np.ndarray, ...], Progress]:
    """The rows, whose shapes are expected to be these, and the progress. Raises NotThisModel."""
    try:
        progress = Progress(**json.loads((folder / PROGRESS).read_text()))
        with np.load(folder / ROWS, allow_pickle=False) as archive:
            rows = tuple(archive[f"arr_{number}"] for number in range(len(archive.files)))
    except Exception as error:  # zipfile, NumPy and json each raise their own kinds
        raise NotThisModel(f"{type(error).__name__}: {error}"[:500]) from error
    found = [row.shape for row in rows]
    if found != list(shapes) or any(row.dtype != "float32" for row in rows):
        raise NotThisModel(f"its rows have the shapes {found}; expected {list(shapes)}.")
    return rows, progress
