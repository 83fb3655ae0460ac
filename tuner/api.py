"""How a study begins in Python: describe a new one, or load one that exists."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from search_spaces import Space
from tuner import submission
from tuner.configuration import Settings
from tuner.databases import find_database
from tuner.definitions.definition import StudyDefinition, parse
from tuner.errors import UnknownName
from tuner.payload import in_memory
from tuner.reporting import results
from tuner.study import Study


def create_study(
    name: str,
    *,
    space: Space | Mapping[str, Any] | None = None,
    model: Any = None,
    loop: str | Callable[..., Any] | None = None,
    data: Any = None,
    settings: Settings | None = None,
    **options: Any,
) -> Study:
    """Describe a study. Everything that can be checked without training is checked here; nothing is stored yet.

    Args:
        name: 1 to 128 of letters, digits, `.`, `_`, `-`.
        space: what is tuned; `search_spaces.mlp(...)` also says what is trained. None: read from `model`.
        model: a KerasTuner `build(hp)` function or `HyperModel`, or its name, `"module:attribute"`. What a script or a
            notebook defines goes with the study as it is now, with what it refers to there, at most 8 MiB: it is named
            after its code, so the same code is the same study, and an edit makes another one.
        loop: instead of `model`, a function that owns its training loop, see workers/trials/loop.py.
        data: arrays `(x, y)`, `((x, y), (x_validation, y_validation))` or three pairs, or the same by name,
            `{"x": x, "y": y}` or `{"train": (x, y), "validation": (x, y)}`; a mapping with `arrays`, which is one of
            these, or with `frame` (a pandas DataFrame) and `target`, and with the options of files; a mapping with
            `path` and `target` for CSV, TSV, Parquet or NPZ files; a function that returns arrays or datasets, or
            `"module:function"`.
            What is in memory is put among the artifacts when the study is run or submitted; the same data is the same
            study, other data is another one.
        settings: where database, artifacts and models are. Default: from `TUNER_*` variables, else ./ockham.
        **options: the other fields of `StudyDefinition`: objective, trials, epochs, patience, sampler, pruner, ...

    Raises:
        InvalidStudy: with every mistake, one sentence each.
        StudyExists: another study has this name.
    """
    given, memory = in_memory.take({"model": model, "loop": loop, "data": data})
    given["space"] = space
    form = {"name": name, **{key: value for key, value in given.items() if value is not None}, **options}
    definition, settings = parse(form), settings or Settings.load()
    submission.find(definition, settings)  # the results of another study are not this one's
    return Study(definition, settings, memory=memory)


def load_study(name: str, *, settings: Settings | None = None) -> Study:
    """A study that exists already. Raises UnknownName with the closest names."""
    settings = settings or Settings.load()
    database = find_database(settings)
    if database is None:
        raise UnknownName("study", name, ())
    row = results.study_row(database, name)
    return Study(StudyDefinition.from_json(row.definition), settings, database)
