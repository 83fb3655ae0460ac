"""The processes that look at finished models: one that exports or scores a trial's, a throw-away one that verifies what
was exported, and one that compares several.

They import TensorFlow, which the coordinator and the command line never do.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from db.tables import Artifact, Trial
from tuner.configuration import Settings
from tuner.definitions.definition import StudyDefinition
from tuner.errors import PromotionFailed
from workers.launchers.machine import child_command, child_environment

PROBE_ROWS = 16  # rows whose predictions are recorded by the export and compared by the verification
DEADLINE_SECONDS = 1800.0  # for one of the processes


def export_model(
    definition: StudyDefinition,
    trial: Trial,
    artifact: Artifact | None,
    settings: Settings,
    staging: Path,
    *,
    refit: int | None,
) -> dict[str, Any]:
    """Write the trial's model as a SavedModel into `staging` and score it on the test part.

    `refit`: train it again first, for so many epochs on training and validation rows; only so it does without an
    artifact. Returns what workers/exporting/export.py says: scores and paths. Raises PromotionFailed with its last
    lines.
    """
    request = json.dumps({**_request(definition, trial, artifact, settings, staging), "refit": refit})
    if refit:  # takes as long as the trial did, or longer
        return _call("export", [], request, "trained again and exported", deadline=None)
    return _call("export", [], request, "exported")


def score_model(
    definition: StudyDefinition, trial: Trial, artifact: Artifact | None, settings: Settings
) -> dict[str, Any]:
    """Score the trial's model on the validation and the test part, and write nothing; otherwise like `export_model`."""
    return _call("export", [], json.dumps(_request(definition, trial, artifact, settings, None)), "scored")


def compare_models(
    definition: StudyDefinition, models: Sequence[tuple[Trial, Artifact]], settings: Settings
) -> list[dict[str, list[float]]]:
    """What each of these trials' models scores on the same groups of validation rows, by metric. The test part is not
    read. Raises PromotionFailed like `export_model`.
    """
    answer = _call("compare", [], _several(definition, models, settings), "compared")
    groups: list[dict[str, list[float]]] = answer["groups"]
    return groups


def look_into_models(
    definition: StudyDefinition, models: Sequence[tuple[Trial, Artifact]], settings: Settings
) -> list[dict[str, Any]]:
    """What workers/exporting/regularization.py finds in these trials' models; otherwise like `compare_models`."""
    answer = _call("regularization", [], _several(definition, models, settings), "looked into")
    found: list[dict[str, Any]] = answer["models"]
    return found


def _several(definition: StudyDefinition, models: Sequence[tuple[Trial, Artifact]], settings: Settings) -> str:
    return json.dumps({**_study(definition, settings), "trials": [_trial(*model) for model in models]})


def _study(definition: StudyDefinition, settings: Settings) -> dict[str, Any]:
    return {
        "training": definition.training(str(settings.artifacts), settings.import_paths).to_json(),
        "artifact_root": str(settings.artifacts),
    }


def _trial(trial: Trial, artifact: Artifact | None) -> dict[str, Any]:
    return {
        "trial": trial.number,
        "token": trial.token,
        "epoch": trial.best_epoch,
        "params": trial.params,
        "seed": trial.seed,
        "key": artifact.key if artifact else None,
        "sha256": artifact.sha256 if artifact else None,
    }


def _request(
    definition: StudyDefinition, trial: Trial, artifact: Artifact | None, settings: Settings, staging: Path | None
) -> dict[str, Any]:
    return {
        **_study(definition, settings),
        **_trial(trial, artifact),
        "staging": None if staging is None else str(staging),
        "probe_rows": PROBE_ROWS,
        "evaluate_test": True,
    }


def verify_model(path: str) -> list[str]:
    """What a fresh process that knows TensorFlow alone has to object to a version's folder; empty: nothing."""
    answer = _call("verify", [path], "", "verified")
    return (
        [] if answer.get("ok") else [str(problem) for problem in answer.get("problems", ["It could not be verified."])]
    )


def _call(
    process: str, arguments: list[str], text: str, verb: str, deadline: float | None = DEADLINE_SECONDS
) -> dict[str, Any]:
    environment = {**child_environment(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = child_command(f"workers.exporting.{process}", *arguments)
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, timeout=deadline, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise PromotionFailed(f"The model could not be {verb} within {deadline:.0f} s.") from expired
    lines = done.stdout.strip().splitlines()
    try:
        answer = json.loads(lines[-1])
    except (IndexError, ValueError):
        tail = "\n".join(done.stderr.strip().splitlines()[-20:])
        raise PromotionFailed(
            f"The model could not be {verb}: the process ended with {done.returncode}.\n{tail}"
        ) from None
    if not isinstance(answer, dict):
        raise PromotionFailed(f"The model could not be {verb}: {answer!r} came back.")
    if answer.get("error"):
        raise PromotionFailed(f"The model could not be {verb}: {answer['error']}")
    return answer
