"""Saves running trials' files and says so; finds them again when a trial resumes.

Trials that are trained as one program save together: one folder holds the rows of all of them by trial number, and each
says the same key. Whoever resumes one of them reads its rows alone, in whatever company it then is.

Bytes first: `Saved` is reported after the artifact store holds everything. A checkpoint that fails its manifest
is never used: the trial then starts at epoch 0, which costs time but not the result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import Member, Saved, Training
from workers.failures import StorageFailed
from workers.trials.gate import Lane

log = logging.getLogger("ockham.worker")


class Checkpoints:
    """The artifacts of the attempts that one assignment holds, or of one of them."""

    def __init__(self, training: Training) -> None:
        self._training = training
        self._store = ArtifactStore(training.artifacts)
        self._began = time.monotonic()
        self._last: dict[Lane, float] = {}
        self._opened: dict[str, Path | Exception] = {}  # by key: what resumes together is verified once

    def due(self, lanes: Collection[Lane]) -> bool:
        """Whether the last checkpoint (or the start) of one is `checkpoint_seconds` ago, or one was asked for."""
        oldest = min(self._last.get(lane, self._began) for lane in lanes)
        asked = any(lane.saving for lane in lanes)
        return asked or time.monotonic() - oldest >= self._training.checkpoint_seconds

    def save(
        self, kind: Literal["checkpoint", "model"], epochs: Mapping[Lane, int], files: Mapping[str, bytes | Path]
    ) -> None:
        """Write one folder and report it for each lane, with the epoch its weights are of. Raises `StorageFailed`."""
        lanes = sorted(epochs, key=lambda lane: lane.member.trial)
        key = artifact_key(self._training.study, [lane.member for lane in lanes], epochs[lanes[0]], kind)
        members = [_described(lane.member, epochs[lane]) for lane in lanes]
        try:
            sha256, size = self._store.write(key, files, {"study": self._training.study, "members": members})
        except OSError as error:
            raise StorageFailed(f"Could not write {key} below {self._training.artifacts}: {error}.") from error
        for lane in lanes:
            self._last[lane] = time.monotonic()
            lane.saved(Saved(lane.member.trial, lane.member.token, kind, epochs[lane], key, sha256, size))

    def open(self, lane: Lane) -> Path | None:
        """The folder that the lane's trial resumes from after its manifest matched, or None: start at epoch 0."""
        key = lane.member.checkpoint
        if key is None:
            return None
        if key not in self._opened:
            try:
                self._opened[key] = self._store.verify(key)
            except (ArtifactDamaged, OSError) as error:
                self._opened[key] = error
        found = self._opened[key]
        if isinstance(found, Path):
            return found
        self.refuse(lane, found)
        return None

    def refuse(self, lane: Lane, reason: object) -> None:
        """Log that the lane's checkpoint is not used."""
        member = lane.member
        log.warning(
            "trial %d, attempt %d: checkpoint %s cannot be used, training starts at epoch 0: %s",
            member.trial, member.token, member.checkpoint, reason,
        )  # fmt: skip


def artifact_key(study: str, members: Sequence[Member], epoch: int, kind: Literal["checkpoint", "model"]) -> str:
    """`digits/trial-000017/attempt-3/epoch-0012`; the final model's key ends in `-model`.

    For several trials `digits/trial-000017..000032/…` with the attempt and the epoch of the first one, which is in one
    stack at a time. Best weights may be of an epoch that also has a checkpoint; the two hold different things.
    """
    first, last = members[0], members[-1]
    trials = f"trial-{first.trial:06d}" + (f"..{last.trial:06d}" if last is not first else "")
    suffix = "-model" if kind == "model" else ""
    return f"{study}/{trials}/attempt-{first.token}/epoch-{epoch:04d}{suffix}"


def _described(member: Member, epoch: int) -> dict[str, Any]:
    return {"trial": member.trial, "token": member.token, "epoch": epoch, "params": member.params}
