"""The log of a daemon: lines for a person, or one JSON object per line for a program that collects them.

What a line is about goes with it, as `extra`; see tuner/coordination/study_log.py.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from tuner.configuration import Settings

ABOUT = ("study", "trial")
"""What a record may say it is about."""

TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


def set_up(settings: Settings) -> None:
    """Log to stderr from now on, at the level and in the format of the settings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if settings.log_format == "json" else logging.Formatter(TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler], force=True)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # its plugins introduce themselves one by one


class JsonLines(logging.Formatter):
    """A record as one line of JSON: time (UTC, ISO 8601), level, logger, message, and what it is about."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the message holds."""
        form = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **{name: getattr(record, name) for name in ABOUT if hasattr(record, name)},
        }
        if record.exc_info:
            form["traceback"] = self.formatException(record.exc_info)
        return json.dumps(form, ensure_ascii=False, default=str)
