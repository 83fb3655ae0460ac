"""`models.config` for TensorFlow Serving: which versions are loaded, and which label points where.

Written beside the models' folders, so a server started with `--model_config_file` and polling it follows
promotions and rollbacks without a restart.
"""

from __future__ import annotations

import json
from pathlib import Path

from db import models
from db.engine import Database
from tuner.promoting import publishing

FILE = "models.config"


def write(database: Database, directory: Path) -> Path:
    """Rewrite the configuration of every model that lives in `directory`, atomically. Returns the file's path.

    Loaded are the newest ready version and every version that an alias points at; aliases become labels. Promotions of
    different models take turns here: who read before another one's commit must not write after it.
    """
    path, staging = directory / FILE, directory / f".{FILE}.new"
    with publishing.locked(directory):
        with database.read() as s:
            entries = [
                _entry(model.name, model.directory, models.ready_numbers(s, model.id), models.aliases(s, model.id))
                for model in models.listing(s)
                if Path(model.directory).parent == directory
            ]
        staging.write_text("model_config_list {\n" + "".join(entries) + "}\n")
        staging.replace(path)
    return path


def _entry(name: str, base: str, ready: list[int], aliases: dict[str, int]) -> str:
    versions = sorted({*aliases.values(), *ready[-1:]})
    lines = [
        "  config {",
        f"    name: {json.dumps(name)}",
        f"    base_path: {json.dumps(base)}",
        '    model_platform: "tensorflow"',
        "    model_version_policy { specific { " + " ".join(f"versions: {number}" for number in versions) + " } }",
        *(
            f"    version_labels {{ key: {json.dumps(alias)} value: {number} }}"
            for alias, number in sorted(aliases.items())
        ),
        "  }",
    ]
    return "\n".join(lines) + "\n" if versions else ""
