"""What a coordinator's log tells of its studies. Each line says which one it is about; see tuner/logs.py."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tuner.coordination.active_study import ActiveStudy

log = logging.getLogger("tuner.coordinator")


def taken_up(study: ActiveStudy) -> None:
    """It is this coordinator's from now on."""
    name, begun, planned = study.name, len(study.points), study.definition.trials
    log.info("Study %s is run here now; %d of its %d trials have begun.", name, begun, planned, extra=_of(name))


def ended(name: str, state: str, reason: str) -> None:
    """It is over."""
    log.info("Study %s is %s: %s", name, state, reason, extra=_of(name))


def lost(study: ActiveStudy) -> None:
    """It is another coordinator's now."""
    log.warning("Study %s was taken over by another coordinator.", study.name, extra=_of(study.name))


def left_alone(name: str, why: str) -> None:
    """It cannot be run here."""
    log.warning("Study %s is left alone. %s", name, why, extra=_of(name))


def edit_ignored(name: str, why: object) -> None:
    """What a newer version made of it cannot be read here."""
    log.warning("Study %s was edited, and goes on as it was before. %s", name, why, extra=_of(name))


def sampler_failed(name: str, why: str) -> None:
    """In the handler of the sampler's error, whose traceback is told too."""
    log.exception("Study %s cannot go on. %s", name, why, extra=_of(name))


def trial_failed(name: str, number: int, why: str) -> None:
    """A trial is over and will not be tried again."""
    log.info("Trial %d of study %s failed: %s", number, name, why, extra={**_of(name), "trial": number})


def _of(study: str) -> dict[str, object]:
    return {"study": study}
