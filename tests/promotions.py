"""A finished study to promote, and a promotion without TensorFlow, for tests that end it on the way.

The two processes that import TensorFlow are replaced by ones that write and check a small folder: what is proved here
is what the coordinator's side does with rows, locks and names. tests/acceptance/test_readme.py runs the real ones.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Any

from db.engine import Database
from tuner.configuration import Settings
from tuner.coordination.coordinator import Coordinator
from tuner.definitions.definition import parse
from tuner.promoting import promotion
from tuner.reporting.results import study_row
from tuner.submission import submit
from workers.contract import CheckReport
from workers.launchers import launcher

FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"weights"}


def finished_study(database: Database, url: str, home: Path, loop: str = "descent") -> Settings:
    """A finished study whose best trial has a model artifact."""
    settings = Settings.load({}, home=home, database=url, import_paths=str(Path.cwd()))
    space = {"x": {"type": "float", "low": 0.0, "high": 1.0}}
    form = {
        "name": "study",
        "loop": f"tests.loops:{loop}",
        "space": space,
        "objective": "val_loss",
        "trials": 3,
        "epochs": 3,
    }
    submit(parse({**form, "sampler": "random"}), lambda _: CheckReport(), settings)
    workers = launcher("inline")
    coordinator = Coordinator(database, workers, settings)
    while study_row(database, "study").state == "active":
        coordinator.step()
    workers.close()
    return settings


def fake_export(
    definition: Any, trial: Any, artifact: Any, settings: Settings, staging: Path, *, refit: int | None
) -> dict[str, Any]:
    """Write a folder as the export does: files, and a manifest with their hashes."""
    for name, content in FILES.items():
        (staging / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).write_bytes(content)
        time.sleep(0.02)
    (staging / "assets.extra").mkdir()
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()}
    scores: dict[str, Any] = {"validation": {"loss": trial.value}, "test": {"loss": 0.5}}
    if refit:
        scores |= {"validation": None, "test": {"loss": 0.4}, "refit": {"epochs": refit, "rows": 100}}
    (staging / "assets.extra/ockham.json").write_text(json.dumps({"files": hashes, "scores": scores}))
    return {"scores": scores}


def fake_verify(path: str) -> list[str]:
    """Compare a folder with its manifest."""
    try:
        hashes = json.loads((Path(path) / "assets.extra/ockham.json").read_text())["files"]
        wrong = [n for n, h in hashes.items() if hashlib.sha256((Path(path) / n).read_bytes()).hexdigest() != h]
    except (OSError, ValueError) as error:
        return [str(error)]
    return [f"{name} does not match its SHA-256." for name in wrong]


def without_tensorflow() -> None:
    """Use the small stand-ins for the two TensorFlow processes from now on."""
    for name, stand_in in {"export_model": fake_export, "verify_model": fake_verify}.items():
        setattr(promotion, name, stand_in)
