"""What a pool of workers needs from a transport, whether its workers are child processes or Ray actors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from workers.contract import Assignment, Cause, Resources


@dataclass(frozen=True)
class Answer:
    """What a worker said to one call; see workers/launchers/desk.py for the form."""

    call: int
    form: dict[str, Any]


@dataclass(frozen=True)
class Gone:
    """A worker's process has ended, or can no longer be reached."""

    cause: Cause
    message: str
    log: str = ""
    process_end: str = ""  # how the process ended: "with exit code 3", "by signal SIGKILL"; "": its machine is gone


@dataclass(frozen=True)
class Planned:
    """A worker that is yet to be made, by what it will take."""

    resources: Resources


class Link(Protocol):
    """The launcher's side of one live worker. It answers calls in the order in which they were made."""

    name: str
    resources: Resources

    def call(self, method: str, arguments: Sequence[Any], label: str) -> int:
        """Ask, without waiting; returns the number its `Answer` will have. A dead worker shows in `wait`, not here."""
        ...

    def end(self) -> str:
        """End the worker's process now, whatever it is doing. Returns its last output, "" where unknown."""
        ...


class Transport(Protocol):
    """Makes workers and hears from them."""

    def fits(self, resources: Resources) -> str | None:
        """None, or why no worker of this shape can ever be had."""
        ...

    def nodes(self) -> Mapping[str, Mapping[str, float]]:
        """What each machine has in all; see `workers.contract.Launcher`."""
        ...

    def space(self, resources: Resources, held: Sequence[Link | Planned]) -> int:
        """How many more workers of this shape there is room for beside those `held`."""
        ...

    def create(self, resources: Resources) -> Link:
        """Begin to make a worker, without waiting for it."""
        ...

    def orphans(self) -> list[tuple[Link, Assignment]]:
        """Workers whose launcher is gone, each with what it holds; those that hold nothing are ended."""
        ...

    def wait(self, links: Sequence[Any], seconds: float) -> list[tuple[Link, Answer | Gone]]:
        """What these workers, made by `create` or found by `orphans`, said, each in order.

        Waits at most `seconds` for the first word.
        """
        ...

    def close(self) -> None:
        """End what `Link.end` leaves over."""
        ...
