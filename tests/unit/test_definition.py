"""A study's definition: every mistake gives its sentence, and what is stored comes back unchanged."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search_spaces import Space
from tuner.definitions.definition import StudyDefinition, parse
from tuner.definitions.study_form import PRUNERS, SAMPLERS
from tuner.errors import InvalidInput, InvalidStudy
from tuner.names import check_name
from workers.contract import Resources, Training

UNITS = {"units": {"type": "int", "low": 16, "high": 256}}
BUILT = {"model": ..., "loop": "loops:train", "space": UNITS, "data": ...}
GOOD = {"name": "digits", "data": "examples.digits:load", "space": {"family": "mlp"}}


def load() -> None:
    """A user's data function, for entry points given as the function itself."""


def problems(base: Path | None = None, **changes: Any) -> tuple[str, ...]:
    """The mistakes that a good study has after some of its fields changed; `...` removes a field."""
    form = {key: value for key, value in {**GOOD, **changes}.items() if value is not ...}
    with pytest.raises(InvalidStudy) as caught:
        parse(form, base)
    assert isinstance(caught.value, InvalidInput)
    for sentence in caught.value.problems:
        assert sentence.isascii()
        assert sentence.isprintable()
        assert sentence.endswith((".", "?"))
    return caught.value.problems


def only_problem(base: Path | None = None, **changes: Any) -> str:
    found = problems(base, **changes)
    assert len(found) == 1, found
    return found[0]


NAMES = [
    ("", ["empty", "example"]),
    ("a/b", ["'/'", "'a-b'"]),
    ("a\\b", ["character", "'a-b'"]),
    ("..", ["'..'"]),
    ("a..b", ["'..'", "'a-b'"]),
    ("../../etc/passwd", ["'..'", "etc-passwd"]),
    ("a\0b", ["\\x00", "control character"]),
    ("a\nb", ["\\n", "'a-b'"]),
    ("\x1b[31mred", ["\\x1b", "31mred"]),
    ("abc\u202egpj", ["\\u202e", "right-to-left override"]),
    ("\uff44\uff49\uff47\uff49\uff54\uff53", ["fullwidth", "'digits'"]),
    ("caf\u00e9", ["\\xe9", "'cafe'"]),
    ("my study", ["space", "'my-study'"]),
    (".hidden", ["start", "'hidden'"]),
    ("-rf", ["start", "'rf'"]),
    ("\u4e2d\u6587", ["\\u4e2d", "-1'"]),
    ("x" * 129, ["129", "128"]),
    (12, ["12", "quotes"]),
    (None, ["None", "text"]),
    (["a"], ["text"]),
]


@pytest.mark.parametrize(("name", "words"), NAMES)
@pytest.mark.parametrize("kind", ["study", "model"])
def test_refuses_a_name(kind: str, name: Any, words: list[str]) -> None:
    with pytest.raises(InvalidInput) as caught:
        check_name(kind, name)
    sentence = str(caught.value)
    assert sentence.isascii()
    assert sentence.isprintable()
    expected = [word for word in words if not (kind == "model" and word == "quotes")]
    assert all(word in sentence for word in [kind, *expected]), sentence


@pytest.mark.parametrize("name", ["digits", "a", "9lives", "v1.2_x-y", "x" * 128, "2026-11-23"])
def test_accepts_a_name(name: str) -> None:
    assert check_name("study", name) == check_name("model", name) == name


@pytest.mark.parametrize("name", ["1", "007", "٣"])
def test_refuses_a_model_named_like_a_version(name: str) -> None:
    with pytest.raises(InvalidInput, match="integer"):
        check_name("model", name)


def test_a_study_may_be_called_by_a_number() -> None:
    assert check_name("study", "7") == "7"


@pytest.mark.parametrize(("name", "words"), NAMES)
def test_a_study_with_a_bad_name_is_refused(name: Any, words: list[str]) -> None:
    sentence = only_problem(name=name)
    assert sentence.startswith("`name`")
    assert all(word in sentence for word in words), sentence


FIELD_MISTAKES = [
    ({"name": ...}, ["`name`", "missing"]),
    ({"max_trails": 20}, ["`max_trails`", "`trials`"]),
    ({"trails": 20}, ["`trails`", "`trials`"]),
    ({"n_trials": 20}, ["`n_trials`", "`trials`"]),
    ({"metric": "val_loss"}, ["`metric`", "`objective`"]),
    ({"scheduler": "asha"}, ["`scheduler`", "`pruner`"]),
    ({"class_weight": {0: 1.0}}, ["`class_weight`", "Did you mean `data.weight`?"]),
    ({"zzzzqqq": 1}, ["`zzzzqqq`", "trials, repeats, epochs"]),
    ({"\x1b[2J": 1}, ["\\x1b"]),
    ({"trials": 0}, ["`trials`", "0", "from 1 to 1,000,000"]),
    ({"trials": -1}, ["`trials`", "-1", "from 1"]),
    ({"trials": "ten"}, ["`trials`", "'ten'", "whole number"]),
    ({"trials": 1e12}, ["`trials`", "1000000000000", "1,000,000"]),
    ({"trials": 10**12}, ["`trials`", "1000000000000", "1,000,000"]),
    ({"trials": "50"}, ["`trials`", "'50'", "without quotes: 50"]),
    ({"trials": 2.5}, ["`trials`", "2.5", "whole"]),
    ({"trials": True}, ["`trials`", "true", "YAML"]),
    ({"trials": None}, ["`trials`", "null", "whole"]),
    ({"trials": [50]}, ["`trials`", "the list [50]"]),
    ({"trials": 10**400}, ["`trials`", "a number of 1329 bits", "1,000,000"]),
    ({"trials": [10**5000]}, ["`trials`", "the list ...;"]),
    ({"weight": -(10**5000)}, ["`weight`", "a number of 16610 bits"]),
    ({"name": 10**5000}, ["`name`", "a number of 16610 bits"]),
    ({"objective": 10**5000}, ["`objective`", "a number of 16610 bits"]),
    (
        {"space": UNITS, "model": "m:f", "enqueue": [{"units": 10**400}]},
        ["`enqueue[0].units`", "a number of 1329 bits"],
    ),
    ({"trials": math.nan}, ["`trials`", "nan"]),
    ({"trials": math.inf}, ["`trials`", "inf"]),
    ({"epochs": 0}, ["`epochs`", "from 1"]),
    ({"patience": 0}, ["`patience`", "0"]),
    ({"patience": "never"}, ["`patience`", "a whole number from 1 to 1,000,000, or null."]),
    ({"patience": False}, ["`patience`", "false"]),
    ({"eta": 1}, ["`eta`", "from 2"]),
    ({"audit": 10}, ["`audit`", "from 0 to 1"]),
    ({"audit": 0.1, "pruner": "none"}, ["`audit` is 0.1", "`pruner` is none", "audit: 0"]),
    ({"seed": -1}, ["`seed`", "-1"]),
    ({"seed": 2**32}, ["`seed`", "4294967296"]),
    ({"workers": 0}, ["`workers`", "0"]),
    ({"cpus_per_trial": 0}, ["`cpus_per_trial`", "above 0"]),
    ({"cpus_per_trial": math.nan}, ["`cpus_per_trial`", "nan", "finite"]),
    ({"gpus_per_trial": -0.5}, ["`gpus_per_trial`", "-0.5"]),
    ({"gpus_per_trial": 1.5}, ["`gpus_per_trial`", "1.5", "1 or 2"]),
    ({"gpus_per_trial": 1e6}, ["`gpus_per_trial`", "1024"]),
    ({"max_seconds": 0}, ["`max_seconds`", "above 0", ", or null."]),
    ({"max_seconds": math.inf}, ["`max_seconds`", "inf", "finite"]),
    ({"max_seconds": "1e-3"}, ["`max_seconds`", "'1e-3'", "without quotes: 0.001"]),
    ({"total_epochs": 0}, ["`total_epochs`"]),
    ({"target": math.nan}, ["`target`", "nan", "finite"]),
    ({"target": "good"}, ["`target`", "'good'"]),
    ({"no_improvement": -3}, ["`no_improvement`", "-3"]),
    ({"max_failures": 0}, ["`max_failures`", "0"]),
    ({"keep": 0}, ["`keep`", "0"]),
    ({"checkpoint_seconds": -1}, ["`checkpoint_seconds`", "-1"]),
    ({"grace": 30}, ["`grace`", "`epochs`", "30", "pruner: none"]),
    ({"epochs": 3, "grace": 5}, ["`grace` is 5", "`epochs` is 3"]),
    ({"epochs": 1, "pruner": "asha"}, ["`epochs` is 1", "pruner: none"]),
    ({"sampler": "tpee"}, ["`sampler`", "'tpee'", "`tpe`"]),
    ({"sampler": "bayesian"}, ["`sampler`", "`gp`"]),
    ({"sampler": None}, ["`sampler`", "null", "tpe"]),
    ({"sampler": False}, ["`sampler`", "false", "YAML"]),
    ({"pruner": "hyperbande"}, ["`pruner`", "`hyperband`"]),
    ({"pruner": False}, ["`pruner`", "false", "none"]),
    ({"direction": "up"}, ["`direction`", "'up'", "minimize, maximize"]),
    ({"direction": "max"}, ["`direction`", "`maximize`"]),
    ({"objective": ""}, ["`objective`", "metric"]),
    ({"objective": 3}, ["`objective`", "3"]),
    ({"objective": "a\nb"}, ["`objective`", "\\n"]),
    ({"space": "mlp"}, ["`space`", "'mlp'", "{family: mlp}"]),
    ({"space": []}, ["`space`", "the list []"]),
    ({"space": ...}, ["what to train", "family", "model", "loop"]),
    ({"space": UNITS}, ["what to train"]),
    ({"model": "m:build"}, ["`space.family`", "`model`", "both"]),
    ({"loop": "m:train"}, ["`space.family`", "`loop`", "both"]),
    ({"space": UNITS, "model": "m:build", "loop": "m:train"}, ["`model` and `loop`", "both"]),
    ({"space": ..., "data": ..., "loop": "m:train"}, ["`space` is missing", "loop"]),
    ({"space": UNITS, "loop": "m:train"}, ["`loop` and `data`", "brings its own data"]),
    ({"space": ..., "model": "mlp"}, ["`model`", "family: mlp"]),
    ({"space": ..., "model": "models.py"}, ["`model`", "'models.py'", "'module:attribute'"]),
    ({"space": ..., "model": "models.build"}, ["`model`", "Did you mean 'models:build'?"]),
    ({"space": ..., "model": "models/cnn.py:build"}, ["`model`", "Did you mean 'models.cnn:build'?"]),
    ({"space": ..., "model": "models:"}, ["`model`", "'module:attribute'"]),
    ({"space": ..., "model": 7}, ["`model`", "7"]),
    ({"space": ..., "model": lambda hp: hp}, ["`model`", "<lambda>"]),
    ({"space": ..., "model": partial(load)}, ["`model` is a partial; expected a function or a class, or 'module:"]),
    ({"enqueue": {"depth": 1}}, ["`enqueue`", "a mapping", "list"]),
    ({"enqueue": [3]}, ["`enqueue`", "the list [3]"]),
    ({**BUILT, "enqueue": [{"units": 32}, {"unit": 32, "units": 32}]}, ["enqueue[1]", "unit"]),
    ({"space": ..., "model": "m:build", "enqueue": [{"lr": math.nan}]}, ["`enqueue[0].lr`", "nan", "finite"]),
    ({"space": ..., "model": "m:build", "enqueue": [{"lr": [1]}]}, ["`enqueue[0].lr`", "the list [1]"]),
    ({**BUILT, "trials": 1, "enqueue": [{"units": 32}, {"units": 64}]}, ["`enqueue` has 2", "`trials` is 1"]),
    ({"data": ...}, ["`data`", "missing"]),
    ({"data": None}, ["`data`", "missing"]),
]


@pytest.mark.parametrize(("changes", "words"), FIELD_MISTAKES)
def test_refuses_a_field(changes: dict[str, Any], words: list[str]) -> None:
    sentence = only_problem(**changes)
    assert all(word in sentence for word in words), sentence


@pytest.fixture
def table(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("x,y\n1,2\n")
    (tmp_path / "valid.csv").write_text("x,y\n1,2\n")
    (tmp_path / "arrays.npz").write_bytes(b"PK")
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "loop.csv").symlink_to(tmp_path / "loop.csv")
    (tmp_path / "notes.txt").write_text("x")
    return tmp_path


TABLE = {"path": "train.csv", "target": "y"}
DATA_MISTAKES = [
    ({"path": "trian.csv"}, ["`data.path`", "no file", "`train.csv`"]),
    ({"path": "nowhere/train.csv"}, ["`data.path`", "folder", "nowhere"]),
    ({"path": "empty.csv"}, ["`data.path`", "empty"]),
    ({"path": "notes.txt"}, ["`data.path`", "format", ".parquet"]),
    ({"path": "."}, ["`data.path`", "folder", "train.csv"]),
    ({"path": "a\0.csv"}, ["`data.path`", "\\x00"]),
    ({"path": 3}, ["`data.path`", "3"]),
    ({"path": None}, ["`data.path`", "null"]),
    ({"path": "x" * 300 + ".csv"}, ["`data.path`"]),
    ({"path": "loop.csv"}, ["`data.path`", "nowhere"]),
    ({"path": "~nobody-here/train.csv"}, ["`data.path`", "nowhere"]),
    ({"path": ...}, ["`data.path`", "missing"]),
    ({"target": ...}, ["`data.target`", "missing", "column"]),
    ({"target": 5}, ["`data.target`", "5", '"5"']),
    ({"target": True}, ["`data.target`", "true", "YAML"]),
    ({"label": "y"}, ["`data.label`", "`target`"]),
    ({"validaton": 0.3}, ["`data.validaton`", "`validation`"]),
    ({"validation": None}, ["`data.validation`", "needs validation rows"]),
    ({"validation": 0}, ["`data.validation`", "needs validation rows"]),
    ({"validation": 0.0}, ["`data.validation`", "needs validation rows"]),
    ({"validation": 1.0}, ["`data.validation`", "0.9"]),
    ({"validation": -0.1}, ["`data.validation`", "-0.1"]),
    ({"validation": math.nan}, ["`data.validation`", "nan", "share", "file"]),
    ({"validation": False}, ["`data.validation`", "false"]),
    ({"validation": "vaild.csv"}, ["`data.validation`", "`valid.csv`"]),
    ({"test": 0}, ["`data.test`", "null"]),
    ({"test": "tset.csv"}, ["`data.test`", "no file"]),
    ({"validation": 0.5, "test": 0.5}, ["`data.validation`", "`data.test`", "0.9"]),
    ({"task": "clasification"}, ["`data.task`", "`classification`"]),
    ({"exclude": "x"}, ["`data.exclude`", "a list"]),
    ({"exclude": [1]}, ["`data.exclude`", "list"]),
    ({"features": ["x", "x"]}, ["`data.features`", "'x'", "more than once"]),
    ({"features": ["x", "y"]}, ["`data.features`", "'y'", "`data.target`"]),
    ({"features": ["x"], "exclude": ["x"]}, ["`data.exclude`", "'x'", "feature"]),
    ({"weight": "y"}, ["`data.weight`", "`data.target`"]),
    ({"seed": "a"}, ["`data.seed`", "'a'"]),
    ({"path": "arrays.npz"}, ["`data.target`", ".npz"]),
    ({"path": ..., "target": ..., "function": "load"}, ["`data.function`", "'module:function'"]),
    ({"path": ..., "target": ..., "function": None}, ["`data.function`", "null"]),
    ({"path": ..., "function": "m:load"}, ["`data.target`", "`data.function`"]),
    ({"path": ..., "target": ..., "function": "m:load", "validation": "valid.csv"}, ["`data.validation`", "share"]),
]


@pytest.mark.parametrize(("changes", "words"), DATA_MISTAKES)
def test_refuses_data(table: Path, changes: dict[str, Any], words: list[str]) -> None:
    data = {key: value for key, value in {**TABLE, **changes}.items() if value is not ...}
    sentence = only_problem(table, data=data)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize("data", [3, [], True, "train", "load.digits", lambda: None])
def test_refuses_data_of_another_kind(data: Any) -> None:
    assert only_problem(data=data).startswith("`data` is")


def test_a_path_is_read_relative_to_the_base_and_kept_absolute(table: Path) -> None:
    (table / "inner").mkdir()
    data = {**TABLE, "path": "../train.csv", "validation": "../valid.csv", "test": None}
    study = parse({**GOOD, "data": data}, table / "inner")
    assert study.data == {
        "path": str((table / "train.csv").resolve()),
        "target": "y",
        "task": None,
        "validation": str((table / "valid.csv").resolve()),
        "folds": None,
        "test": None,
        "held_back": None,
        "exclude": [],
        "features": None,
        "categories": [],
        "weight": None,
        "seed": 0,
    }


def test_a_file_of_arrays_needs_no_target(table: Path) -> None:
    study = parse({**GOOD, "data": "arrays.npz"}, table)
    assert study.data is not None
    assert study.data["path"] == str((table / "arrays.npz").resolve())


def test_finds_every_mistake_at_once(table: Path) -> None:
    found = problems(
        table,
        name="a/b",
        max_trails=3,
        epochs="many",
        sampler="tpee",
        space={"units": {"type": "int", "low": 9, "high": 3}},
        data={"path": "trian.csv", "validation": 0, "colums": []},
    )
    wanted = ["`name`", "`max_trails`", "`epochs`", "`sampler`", "units", "trian", "`data.validation`", "`data.colums`"]
    assert all(any(word in sentence for sentence in found) for word in wanted), found


@pytest.mark.parametrize("form", [None, [], "study", 3, {1: 2}, {None: 1}, {}])
def test_refuses_what_is_not_a_study(form: Any) -> None:
    with pytest.raises(InvalidStudy):
        parse(form)


def test_defaults_are_chosen_by_the_study() -> None:
    study = parse(GOOD)
    assert (study.model, study.loop, study.objective, study.direction) == ("mlp", None, "val_data_loss", "minimize")
    assert (study.sampler, study.pruner) == ("gp", "asha")
    assert (study.trials, study.epochs, study.patience, study.max_failures) == (50, 30, 5, 12)
    assert parse({**GOOD, "trials": 8}).max_failures == 5
    assert parse({**GOOD, "trials": 400}).max_failures == 100
    assert parse({**GOOD, "epochs": 2}).grace == 1
    assert parse({**GOOD, "epochs": 1}).pruner == "none"
    assert parse({**GOOD, "pruner": None}).pruner == "none"
    assert parse({**GOOD, "patience": None}).patience is None


def test_a_new_field_has_one_default(table: Path) -> None:
    """What `parse` fills in and what the dataclass says are the same, so rows made by either compare equal."""
    study = parse(GOOD)
    assert study == StudyDefinition(name="digits", data=study.data, space=study.space, model="mlp")
    for item in fields(StudyDefinition):
        assert parse({**GOOD, item.name: getattr(study, item.name)}, table) == study


def test_exactly_one_thing_is_trained() -> None:
    assert parse({**GOOD, "model": "mlp"}).model == "mlp"
    builder = parse({**GOOD, "space": None, "model": "models.cnn:build"})
    assert (builder.model, builder.loop, builder.space) == ("models.cnn:build", None, None)
    loop = parse({"name": "own", "space": UNITS, "loop": "loops:train"})
    assert (loop.model, loop.loop, loop.data) == (None, "loops:train", None)


def test_points_to_begin_with_are_part_of_the_study() -> None:
    form = {"name": "own", "space": UNITS, "loop": "loops:train"}
    study = parse({**form, "enqueue": [{"units": 32}]})
    assert study.enqueue == ({"units": 32},)
    assert StudyDefinition.from_json(json.loads(json.dumps(study.to_json()))) == study
    assert study.hash != parse(form).hash


def test_a_function_and_a_space_may_be_given_as_they_are() -> None:
    space = parse(GOOD).space
    assert isinstance(space, Space)
    study = parse({**GOOD, "space": space, "data": load})
    assert study.space == space
    assert study.data is not None
    assert study.data["function"] == f"{__name__}:load"
    main = type("load", (), {"__module__": "__main__", "__qualname__": "load"})
    assert "move it into a module" in only_problem(data=main)


def test_what_a_worker_is_told(table: Path) -> None:
    study = parse({**GOOD, "data": TABLE, "objective": "val_mae", "cpus_per_trial": 2, "gpus_per_trial": 0.5}, table)
    training = study.training("/store", ["/code"])
    assert training.space is not None
    assert study.space is not None
    assert training == Training(
        study="digits",
        model="mlp",
        loop=False,
        space=study.space.to_json(),
        data=study.data,
        objective="val_mae",
        direction="minimize",
        epochs=30,
        patience=5,
        checkpoint_seconds=10.0,
        artifacts="/store",
        import_paths=("/code",),
    )
    assert Training.from_json(json.loads(json.dumps(training.to_json()))) == training
    assert study.resources() == Resources(cpus=2.0, gpus=0.5)
    loop = parse({"name": "own", "space": UNITS, "loop": "loops:train"}).training("/store")
    assert (loop.model, loop.loop, loop.data) == ("loops:train", True, None)


def test_a_study_of_a_newer_version_is_refused() -> None:
    with pytest.raises(InvalidStudy, match="newer version"):
        StudyDefinition.from_json({**parse(GOOD).to_json(), "cohorts": True})


def choices(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


FORMS = st.fixed_dictionaries(
    {
        "name": st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True),
        "data": choices("m:load", {"function": "a.b:c", "test": None}, {"function": "m:load", "held_back": 0.3}),
        "space": choices({"family": "mlp"}, {"family": "mlp", "depth": [1, 3], "width": [8, 64]}),
    },
    optional={
        "objective": choices("val_loss", "val_accuracy", "val_data_loss"),
        "direction": choices("minimize", "maximize", None),
        "trials": st.integers(1, 10**6),
        "epochs": st.integers(3, 10**6),
        "patience": st.none() | st.integers(1, 100),
        "sampler": st.sampled_from(SAMPLERS),
        "pruner": st.none() | st.sampled_from(PRUNERS),
        "eta": st.integers(2, 9),
        "seed": st.integers(0, 2**32 - 1),
        "workers": st.none() | st.integers(1, 64),
        "cpus_per_trial": st.floats(0.01, 64) | st.integers(1, 64),
        "gpus_per_trial": choices(0, 0.25, 1, 2.0),
        "total_epochs": st.none() | st.integers(1, 10**9),
        "max_seconds": st.none() | st.floats(1e-3, 1e9),
        "target": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "no_improvement": st.none() | st.integers(1, 1000),
        "max_failures": st.none() | st.integers(1, 1000),
        "keep": st.integers(1, 100),
        "checkpoint_seconds": st.floats(0, 86_400),
    },
)


@settings(deadline=None)
@given(FORMS, st.randoms())
def test_json_is_an_exact_inverse_and_the_hash_is_stable(form: dict[str, Any], random: Any) -> None:
    study = parse(form)
    stored = json.loads(json.dumps(study.to_json(), allow_nan=False))
    assert StudyDefinition.from_json(stored) == study
    assert StudyDefinition.from_json(stored).hash == study.hash
    keys = list(form)
    random.shuffle(keys)
    assert parse({key: form[key] for key in keys}).hash == study.hash
    spelled = list(stored.items())
    random.shuffle(spelled)
    assert parse(dict(spelled)).hash == study.hash
    assert replace(study, trials=study.trials + 1).hash != study.hash
    assert study.differences(parse(dict(spelled))) == []


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(
    st.dictionaries(st.sampled_from([item.name for item in fields(StudyDefinition) if item.name != "space"]), ANYTHING)
)
def test_whatever_is_given_ends_in_sentences(form: dict[str, Any]) -> None:
    with pytest.raises(InvalidStudy) as caught:
        parse(form)
    assert all(sentence.isprintable() and sentence.isascii() for sentence in caught.value.problems)
