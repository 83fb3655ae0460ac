"""The data of a study: tables, arrays or a user's function, in a train, a validation and perhaps a test part."""

from __future__ import annotations

from workers.data.errors import DataError
from workers.data.loading import fold_of, load
from workers.data.parts import Part, Parts, Task

__all__ = ["DataError", "Part", "Parts", "Task", "fold_of", "load"]
