"""Saves a running trial's files under its own key and says so; finds them again when the trial resumes.

Bytes first: `Saved` is reported after the artifact store holds everything. A checkpoint that fails its manifest
is never used: the trial then starts at epoch 0, which costs time but not the result.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from workers.artifacts import ArtifactDamaged, ArtifactStore
from workers.contract import Member, Saved, Training
from workers.failures import StorageFailed
from workers.gate import Lane

log = logging.getLogger("ockham.worker")


class Checkpoints:
    """The artifacts of one attempt at one trial."""

    def __init__(self, lane: Lane, training: Training) -> None:
        self._lane = lane
        self._training = training
        self._store = ArtifactStore(training.artifacts)
        self._last = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether the last checkpoint (or the trial's start) is `checkpoint_seconds` ago, or one was asked for."""
        return self._lane.saving or time.monotonic() - self._last >= self._training.checkpoint_seconds

    def save(self, kind: Literal["checkpoint", "model"], epoch: int, files: Mapping[str, bytes | Path]) -> None:
        """Write `files` of the given epoch and report them. Raises `StorageFailed`."""
        member = self._lane.member
        key = artifact_key(self._training.study, member, epoch, kind)
        try:
            sha256, size = self._store.write(key, files, self._manifest(epoch))
        except OSError as error:
            raise StorageFailed(f"Could not write {key} below {self._training.artifacts}: {error}.") from error
        self._last = time.monotonic()
        self._lane.saved(Saved(member.trial, member.token, kind, epoch, key, sha256, size))

    def open(self) -> Path | None:
        """The folder to resume from after its manifest matched, or None: start at epoch 0."""
        key = self._lane.member.checkpoint
        if key is None:
            return None
        try:
            return Path(self._store.verify(key))
        except (ArtifactDamaged, OSError) as error:
            self.refuse(error)
            return None

    def refuse(self, reason: object) -> None:
        """Log that the checkpoint is not used."""
        member = self._lane.member
        log.warning(
            "trial %d, attempt %d: checkpoint %s cannot be used, training starts at epoch 0: %s",
            member.trial, member.token, member.checkpoint, reason,
        )  # fmt: skip

    def _manifest(self, epoch: int) -> dict[str, Any]:
        member = self._lane.member
        return {
            "study": self._training.study,
            "trial": member.trial,
            "token": member.token,
            "epoch": epoch,
            "params": member.params,
        }


def artifact_key(study: str, member: Member, epoch: int, kind: Literal["checkpoint", "model"]) -> str:
    """`digits/trial-000017/attempt-3/epoch-0012`; the final model's key ends in `-model`.

    Best weights may be of an epoch that also has a checkpoint; the two hold different things.
    """
    suffix = "-model" if kind == "model" else ""
    return f"{study}/trial-{member.trial:06d}/attempt-{member.token}/epoch-{epoch:04d}{suffix}"
