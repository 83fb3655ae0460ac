"""Ockham: hyperparameter and regularization tuning for Keras. `import tuner` is the public API."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tuner.api import create_study, load_study
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
    from tuner.promoting.promotion import PromotedVersion
    from tuner.promoting.regularization import Regularization, Regularized
    from tuner.promoting.simplest import Candidate, Simplest
    from tuner.reporting.final_score import FinalScore
    from tuner.reporting.results import ConfigurationResult, StudySummary, TrialResult
    from tuner.study import Study

__all__ = [
    "Candidate",
    "ConfigurationResult",
    "FinalScore",
    "InvalidInput",
    "InvalidStudy",
    "NothingToPromote",
    "PromotedVersion",
    "PromotionFailed",
    "Regularization",
    "Regularized",
    "Settings",
    "Simplest",
    "Study",
    "StudyBusy",
    "StudyExists",
    "StudyFailed",
    "StudySummary",
    "TrialResult",
    "TunerError",
    "UnknownName",
    "create_study",
    "load_study",
]

_HOMES = {
    "tuner.api": ("create_study", "load_study"),
    "tuner.configuration": ("Settings",),
    "tuner.reporting.final_score": ("FinalScore",),
    "tuner.promoting.promotion": ("PromotedVersion",),
    "tuner.reporting.results": ("ConfigurationResult", "StudySummary", "TrialResult"),
    "tuner.promoting.regularization": ("Regularization", "Regularized"),
    "tuner.promoting.simplest": ("Candidate", "Simplest"),
    "tuner.study": ("Study",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Names are fetched when they are first used: a command that only reads a study must not import everything.
    if name not in __all__:
        raise AttributeError(f"module 'tuner' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "tuner.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
