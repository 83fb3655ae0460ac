"""Data in memory: what is taken, what names it, what workers read of it, and what is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tuner import InvalidInput, InvalidStudy, Settings, Study, create_study
from tuner.definitions.definition import StudyDefinition, parse
from tuner.payload.in_memory import put, take
from workers.artifacts import ArtifactStore
from workers.data import DataError, Parts, load
from workers.data.arrays import parts_from
from workers.data.options import Options
from workers.data.pieces import leaves
from workers.failures import StorageFailed

X = np.arange(200, dtype=np.float64).reshape(100, 2)
Y = np.arange(100) % 4
W = np.linspace(0.5, 1.5, 100)
TWO = {"image": X.reshape(100, 2, 1), 'a "name"/[0]': X + 1}
FRAME = pd.DataFrame({"number": X[:, 0], "text": np.where(Y > 1, "few", "many"), "target": X[:, 1], "key": range(100)})
DATASET = SimpleNamespace(element_spec=None, cardinality=None)  # looks like one of tf.data's


def study(settings: Settings, data: Any, **changes: Any) -> Study:
    return create_study("study", data=data, space={"family": "mlp"}, settings=settings, **changes)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({}, home=tmp_path / "home", launcher="inline")


@pytest.fixture
def read(settings: Settings) -> Callable[[Any], Parts]:
    """What workers get of data that a program has in memory."""

    def read(data: Any) -> Parts:
        given, memory = take({"data": data})
        assert memory.data is not None
        put(memory.data, settings.artifacts)
        definition = parse({"name": "study", "space": {"family": "mlp"}, **given})
        told = definition.training(settings.artifacts).to_json()
        return load(json.loads(json.dumps(told["data"])))

    return read


def same(one: Parts, other: Parts) -> bool:
    arrays = [
        [*leaves((part.x, part.y)), part.weight]
        for parts in (one, other)
        for part in (parts.train, parts.validation, parts.test)
        if part is not None
    ]
    half = len(arrays) // 2
    pairs = [pair for a, b in zip(arrays[:half], arrays[half:], strict=True) for pair in zip(a, b, strict=True)]
    return one.rows == other.rows and all(np.array_equal(a, b) for a, b in pairs if a is not None or b is not None)


FORMS: dict[str, Any] = {
    "one pair": (X, Y),
    "with weights": (X, Y, W),
    "parts": ((X, Y, W), (X[:20], Y[:20]), (X[:8], Y[:8])),
    "a dict of them": {"x_train": X, "y_train": Y, "x_validation": X[:20], "y_validation": Y[:20]},
    "several inputs": (TWO, Y),
    "several inputs and outputs, in parts": {
        "train": ((X, TWO["image"]), {"b": Y, "a": X}),
        "validation": ((X[:9], TWO["image"][:9]), {"b": Y[:9], "a": X[:9]}),
    },
    "lists": ([[1.0, 2.0]] * 40 + [[3.0, 4.0]] * 40, ["cat"] * 40 + ["dog"] * 40),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_worker_gets_what_a_function_would_have_given(form: str, read: Callable[[Any], Parts]) -> None:
    data, options = FORMS[form], {"seed": 3, "validation": 0.25}
    found = read({"arrays": data, **options})
    [given] = parts_from(data, Options.parse({"function": "m:f", **options}), "m:f")
    assert same(found, given)
    assert (found.task, found.labels, found.input_shape) == (given.task, given.labels, given.input_shape)


def test_named_arrays_need_no_field_around_them(settings: Settings) -> None:
    named: list[dict[str, Any]] = [
        {"x": X, "y": Y},
        {"x": X.tolist(), "y": Y.tolist()},
        {"x_train": X, "y_train": Y, "x_validation": X[:9], "y_validation": Y[:9]},
        {"train": (X, Y), "validation": (X[:9], Y[:9])},
    ]
    for arrays in named:
        short = study(settings, {**arrays, "seed": 3, "task": "regression"})
        assert short.definition == study(settings, {"arrays": arrays, "seed": 3, "task": "regression"}).definition
    shares = {"validation": 0.1, "test": None}
    short = study(settings, {"x": X, "y": Y, **shares})
    assert short.definition == study(settings, {"arrays": (X, Y), **shares}).definition


def test_a_frame_is_a_table(read: Callable[[Any], Parts], tmp_path: Path) -> None:
    FRAME.to_csv(tmp_path / "rows.csv", index=False)
    options = {"target": "target", "exclude": ["key"], "seed": 2}
    found = read({"frame": FRAME.set_index(FRAME.key + 1000), **options})
    assert found.preprocessing == load({"path": str(tmp_path / "rows.csv"), **options}).preprocessing
    apart = read({"frame": (FRAME, FRAME[:30], FRAME[30:60]), **options})
    assert apart.rows == {"train": 100, "validation": 30, "test": 30}


def test_equal_data_is_the_same_study_and_other_data_is_not(settings: Settings) -> None:
    one, again = study(settings, (X, Y)).definition, study(settings, {"arrays": (X.copy(), list(Y))}).definition
    assert one.hash == again.hash
    assert not settings.home.exists(), "nothing is stored yet"
    others = [
        (X + 1, Y),
        (X, Y.astype(np.int32)),
        (X.reshape(100, 1, 2), Y),
        ({"a": X, "b": X}, Y),
        ((X, X), Y),
        ((X, Y), (X, Y)),
        {"frame": FRAME, "target": "target"},
        {"frame": FRAME[::-1], "target": "target"},
        {"frame": (FRAME, FRAME), "target": "target"},
    ]
    assert len({study(settings, data).definition.hash for data in [(X, Y), *others]}) == len(others) + 1
    [sentence] = one.differences(study(settings, (X + 1, Y)).definition)
    assert sentence.startswith("`data.arrays` is other data than that of the study 'study': SHA-256 ")


def test_another_process_gives_a_frame_the_same_name() -> None:
    """A notebook's kernel that was restarted finds the study."""
    program = "from tests.unit.test_in_memory import FRAME, take; print(take({'data': FRAME})[1].data.sha256)"
    root = Path(__file__).parents[2]
    said = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True).stdout
    memory = take({"data": FRAME})[1]
    assert memory.data is not None and said.strip() == memory.data.sha256


def test_a_definition_says_it_again(settings: Settings) -> None:
    for data in ({"arrays": ((X, Y), (X, Y)), "held_back": 0.5}, {"frame": (FRAME, FRAME), "target": "target"}):
        made = study(settings, data, sampler="random")
        assert parse(made.definition.to_json()) == made.definition
        assert StudyDefinition.from_json(json.loads(json.dumps(made.definition.to_json()))) == made.definition


def test_arrays_that_were_changed_meanwhile_are_refused(settings: Settings) -> None:
    x = X.astype(np.float32)
    made = study(settings, (x, Y))
    x[0] = 7
    with pytest.raises(InvalidInput, match=r"were changed after create_study\(\): call it again"):
        made.run(progress=False)
    assert not settings.home.exists()


def test_what_was_stored_and_is_damaged_is_not_learned_from(read: Callable[[Any], Parts], settings: Settings) -> None:
    for data in ((X + 5, Y), {"frame": FRAME[:90], "target": "target"}):
        read(data)
        memory = take({"data": data})[1]
        assert memory.data is not None
        [file] = memory.data.files
        path = ArtifactStore(settings.artifacts).root / memory.data.key / file
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with pytest.raises(StorageFailed, match="is damaged"):
            read(data)


def test_what_a_worker_finds_wrong_is_said_of_the_frame(read: Callable[[Any], Parts]) -> None:
    """And not of the file that it has become."""
    gap = FRAME.assign(target=FRAME.target.where(FRAME.key != 7))
    for frame, sentence in (
        (gap, "is NaN or empty in 1 of 100 rows of `data.frame`: "),
        ((FRAME, gap), "is NaN or empty in 1 of 100 rows of `data.frame` \\(validation\\): "),
        (FRAME[["target"]], "^`data.frame` has no column left to learn from"),
    ):
        with pytest.raises(DataError, match=sentence):
            read({"frame": frame, "target": "target"})


MISTAKES: dict[str, tuple[Any, str]] = {
    "lengths": ((X, Y[:5]), r"`data\.arrays` has x of 100 rows and y of 5"),
    "objects": ((np.array([object()] * 3), [1, 2, 3]), "x holds objects"),
    "ragged": (([[1], [1, 2]], [1, 2]), "x is no array"),
    "dates": ((X.astype("M8[s]"), Y), r"x holds datetime64\[s\], expected numbers or text"),
    "empty": (([], []), "is empty"),
    "no y": ((X, None), "gave a tuple of 2"),
    "a name too many": ({"x": X, "y": Y, "z": Y}, r"`data\.arrays` gave 'z', expected names such as x, y"),
    "an option too many": ({"x": X, "y": Y, "target": "y"}, r"`data\.target` belongs to a file"),
    "a file as train": ({"train": "rows.csv", "target": "y"}, r"`data\.train` is not a field\. Did you mean `path`"),
    "a table as train": ({"train": FRAME, "target": "y"}, r"has arrays as 'train', 'target'; .*\{\"frame\": frame"),
    "one array": (X, r"`data` is a ndarray; expected data=\(x, y\)"),
    "a generator": (((x, y) for x, y in zip(X, Y, strict=True)), r"`data` is a generator; expected data=\(x, y\)"),
    "a number": ({"arrays": 5}, "gave a int"),
    "other names": ({"inputs": X, "y": Y}, r"has arrays as 'inputs', 'y'; expected .* data=\{\"arrays\": \(x, y\)"),
    "datasets": ((DATASET, DATASET), r"holds a tf\.data\.Dataset.* give a function"),
    "one dataset": (DATASET, "or a function that returns datasets"),
    "folds": ({"frame": (FRAME, FRAME), "target": "target", "folds": 3}, r"`data\.frame` has a validation table: keep"),
    "a column of arrays": ({"arrays": (X, Y), "target": "t"}, r"`data\.target` belongs to a file"),
    "no target": (FRAME, r"`data\.target` is missing"),
    "another target": ({"frame": FRAME, "target": "targte"}, r"the frame does not have\. Did you mean `target`"),
    "no rows": ({"frame": FRAME[:0], "target": "target"}, "has no rows"),
    "twice": ({"frame": FRAME[["key", "key"]], "target": "key"}, "the columns 'key' more than once"),
    "objects in a column": ({"frame": FRAME.assign(key=[object()] * 100), "target": "target"}, "cannot be stored"),
    "frames": ({"frame": [FRAME] * 4, "target": "target"}, "expected a pandas DataFrame, or"),
    "a part twice": ({"frame": (FRAME, FRAME), "validation": 0.2, "target": "key"}, "has a validation table"),
    "a file beside it": ({"frame": FRAME, "validation": "a.csv", "target": "key"}, "expected a share of the rows"),
    "a file's name": ({"frame": "rows.csv", "target": "key"}, "which Python alone can give"),
    "both": ({"frame": FRAME, "path": "a.csv", "target": "key"}, r"`data\.path` is not a field"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_cannot_be_learned_from_is_a_sentence(mistake: str, settings: Settings) -> None:
    data, sentence = MISTAKES[mistake]
    with pytest.raises(InvalidStudy, match=sentence):
        study(settings, data)
