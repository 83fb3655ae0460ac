"""The two processes of a promotion: one that exports a trial's model, and a throw-away one that verifies it.

Both import TensorFlow, which the coordinator and the command line never do.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from db.tables import Artifact, Trial
from tuner.configuration import Settings
from tuner.definition import StudyDefinition
from tuner.errors import PromotionFailed
from workers.launchers.machine import child_command, child_environment

PROBE_ROWS = 16  # rows whose predictions are recorded by the export and compared by the verification
DEADLINE_SECONDS = 1800.0  # for one of the two processes


def export_model(
    definition: StudyDefinition,
    trial: Trial,
    artifact: Artifact,
    settings: Settings,
    staging: Path,
) -> dict[str, Any]:
    """Write the trial's model as a SavedModel into `staging` and score it on the test part.

    Returns what workers/export.py says: scores and paths. Raises PromotionFailed with its last lines.
    """
    return _call("workers.export", [], json.dumps(_request(definition, trial, artifact, settings, staging)), "exported")


def score_model(definition: StudyDefinition, trial: Trial, artifact: Artifact, settings: Settings) -> dict[str, Any]:
    """Score the trial's model on the validation and the test part, and write nothing; otherwise like `export_model`."""
    return _call("workers.export", [], json.dumps(_request(definition, trial, artifact, settings, None)), "scored")


def _request(
    definition: StudyDefinition, trial: Trial, artifact: Artifact, settings: Settings, staging: Path | None
) -> dict[str, Any]:
    return {
        "training": definition.training(str(settings.artifacts), settings.import_paths).to_json(),
        "params": trial.params,
        "seed": trial.seed,
        "trial": trial.number,
        "artifact_root": str(settings.artifacts),
        "key": artifact.key,
        "sha256": artifact.sha256,
        "staging": None if staging is None else str(staging),
        "probe_rows": PROBE_ROWS,
        "evaluate_test": True,
    }


def verify_model(path: str) -> list[str]:
    """What a fresh process that knows TensorFlow alone has to object to a version's folder; empty: nothing."""
    answer = _call("workers.verify", [path], "", "verified")
    return (
        [] if answer.get("ok") else [str(problem) for problem in answer.get("problems", ["It could not be verified."])]
    )


def _call(module: str, arguments: list[str], text: str, verb: str) -> dict[str, Any]:
    environment = {**child_environment(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = child_command(module, *arguments)
    try:
        done = subprocess.run(
            command, input=text, capture_output=True, text=True, env=environment, timeout=DEADLINE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as expired:
        raise PromotionFailed(f"The model could not be {verb} within {DEADLINE_SECONDS:.0f} s.") from expired
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
