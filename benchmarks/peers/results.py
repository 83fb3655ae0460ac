"""What was measured so far, in a JSON file, so that a benchmark that was ended can go on."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Results:
    """Measurements by name. `path` None: kept in memory alone."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._found: dict[str, Any] = json.loads(path.read_text()) if path and path.exists() else {}

    def __contains__(self, name: str) -> bool:
        return name in self._found

    def once(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What is kept under this name; measured, and written down, where there is nothing."""
        if name not in self._found:
            self._found[name] = measure()
            if self._path:
                self._path.write_text(json.dumps(self._found, indent=1))
        found: dict[str, Any] = self._found[name]
        return found
