"""Arrays of several trials in one .npz file, by trial number. Reading one trial does not load the others."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np


def pack(members: Mapping[int, Sequence[np.ndarray]]) -> bytes:
    """The file's content: `TRIAL/0`, `TRIAL/1`, … are a trial's arrays in their order."""
    buffer = io.BytesIO()
    named = {f"{trial}/{place}": array for trial, arrays in members.items() for place, array in enumerate(arrays)}
    np.savez(buffer, allow_pickle=False, **named)
    return buffer.getvalue()


def unpack(path: Path, trial: int) -> list[np.ndarray]:
    """A trial's arrays. Raises LookupError where the file has none of it, else what zipfile and NumPy raise."""
    with np.load(path, allow_pickle=False) as archive:
        count = sum(name.startswith(f"{trial}/") for name in archive.files)
        if not count:
            raise LookupError(f"{path.name} has nothing of trial {trial}")
        return [archive[f"{trial}/{place}"] for place in range(count)]
