"""Ockham: hyperparameter and regularization tuning for Keras. `import tuner` is the public API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import Study, create_study, load_study
    from tuner.configuration import Settings
    from tuner.errors import (
        InvalidInput,
        InvalidStudy,
        NothingToPromote,
        PromotionFailed,
        StudyBusy,
        StudyExists,
        StudyFailed,
        TunerError,
        UnknownName,
    )
    from tuner.promotion import PromotedVersion
    from tuner.results import StudySummary, TrialResult

_HOMES = {
    "Study": "tuner.api",
    "create_study": "tuner.api",
    "load_study": "tuner.api",
    "Settings": "tuner.configuration",
    "InvalidInput": "tuner.errors",
    "InvalidStudy": "tuner.errors",
    "NothingToPromote": "tuner.errors",
    "PromotionFailed": "tuner.errors",
    "StudyBusy": "tuner.errors",
    "StudyExists": "tuner.errors",
    "StudyFailed": "tuner.errors",
    "TunerError": "tuner.errors",
    "UnknownName": "tuner.errors",
    "PromotedVersion": "tuner.promotion",
    "StudySummary": "tuner.results",
    "TrialResult": "tuner.results",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    # Names are fetched when they are first used: a command that only reads a study must not import everything.
    if name not in _HOMES:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
