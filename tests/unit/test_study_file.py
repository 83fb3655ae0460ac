"""Study files: what can be wrong with one, as a table; each mistake with its file, its line and what to write."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tuner.definitions.definition import parse
from tuner.definitions.study_file import LARGEST, read
from tuner.errors import InvalidStudy

GOOD = "name: digits\ndata: examples.digits:load\nspace: {family: mlp}\n"


def problems(path: Path) -> tuple[str, ...]:
    with pytest.raises(InvalidStudy) as caught:
        read(path)
    for sentence in caught.value.problems:
        assert sentence.isascii()
        assert sentence.isprintable()
    return caught.value.problems


def written(folder: Path, content: str | bytes, name: str = "study.yaml") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
CONTENTS: list[tuple[str | bytes, list[str]]] = [
    ("", ["the file is empty", "name: digits"]),
    ("# only a comment\n", ["the file is empty"]),
    ("---\n", ["the file is empty"]),
    ("- name: digits\n", ["a list at the top", "`-`"]),
    ("digits\n", ["a single value"]),
    (GOOD + "---\n" + GOOD, ["line 4", "second document"]),
    (GOOD + "name: other\n", ["line 4", "`name`", "twice", "line 1"]),
    ("space:\n  family: mlp\n  family: mlp\nname: x\ndata: m:f\n", ["line 3", "`space.family`", "twice", "line 2"]),
    (GOOD + "max_trails: 3\n", ["line 4", "`max_trails`", "Did you mean `trials`?"]),
    (GOOD + "seed: !!python/object/apply:os.system [ls]\n", ["line 4", "tag", "os.system", "not allowed"]),
    (GOOD + "seed: !secret 3\n", ["line 4", "tag", "!secret"]),
    (GOOD + "seed: !!int '3'\n", ["line 4", "tag"]),
    (BOMB, ["line 1", "&a", "not allowed"]),
    (GOOD + "seed: *missing\n", ["line 4", "*missing", "write the value out"]),
    ("defaults: &d {trials: 3}\n" + GOOD + "<<: *d\n", ["line 1", "&d"]),
    (GOOD + "? [a, b]\n: 3\n", ["line 4", "name of a field"]),
    ("name: digits\nspace:\n\tfamily: mlp\n", ["line 3", "tab", "spaces"]),
    ("name: digits\nspace:\n  \t family: mlp\n", ["line 3", "tab"]),
    ("name: digits\nspace: {family: mlp\n", ["line 3", "not YAML"]),
    ("name: digits: more\n", ["line 1", "`:`", "quotes"]),
    ("name: 'digits\n", ["not YAML"]),
    ("a: " + "[" * 5000, ["line 1", "nested"]),
    (b"\xff\xfe" + "name: digits".encode("utf-16-le"), ["UTF-16", "UTF-8"]),
    ("name: digits\ndata: données\n".encode("latin-1"), ["line 2", "0xe9", "UTF-8"]),
    (GOOD.encode() + b"seed: 1\x00\n", ["line 4", "\\x00", "not allowed"]),
    (GOOD.encode() + b"seed: 1\x1b[2J\n", ["line 4", "\\x1b"]),
    (GOOD + "trials: ten\n", ["line 4", "`trials`", "'ten'"]),
    (GOOD + "trials:\n", ["line 4", "`trials`", "null"]),
    (GOOD + "sampler: tpee\n", ["line 4", "`sampler`", "`tpe`"]),
    (GOOD + "trials: 010\n", ["line 4", "`trials` is 010", "octal number 8", "write 10"]),
    (GOOD + "max_seconds: 12:30:45\n", ["line 4", "`max_seconds` is 12:30:45", "base 60", "seconds"]),
    (GOOD + "max_seconds: 1e3\n", ["line 4", "`max_seconds` is 1e3", "as text", "write 1000.0"]),
    (GOOD + "seed: " + "9" * 5000 + "\n", ["line 4", "`seed` is 9", "9..., which has hundreds of digits"]),
    (GOOD + "max_seconds: .nan\n", ["line 4", "nan", "finite"]),
    (GOOD + "target: -.inf\n", ["line 4", "-inf", "finite"]),
    (b"PK\x03\x04" + bytes(range(128, 256)), ["line 1", "UTF-8"]),
    (b"\x1f\x8b\x08\x00", ["UTF-8"]),
    ("x" * (LARGEST + 1), ["larger than 1,048,576 bytes"]),
]


@pytest.mark.parametrize(("content", "words"), CONTENTS, ids=range(len(CONTENTS)))
def test_refuses_a_file(tmp_path: Path, content: str | bytes, words: list[str]) -> None:
    found = problems(written(tmp_path, content))
    assert any(all(word in sentence for word in ["study.yaml", *words]) for sentence in found), found


def test_no_means_false_and_is_pointed_out(tmp_path: Path) -> None:
    content = "name: digits\ndata: m:load\nspace:\n  family: mlp\n  optimizer: no\n  learning_rate: [1e-4, 1e-1]\n"
    found = problems(written(tmp_path, content))
    assert len(found) == 3, found
    assert any("line 5" in p and "`space.optimizer` is no" in p and "false" in p and '"no"' in p for p in found), found
    assert any("line 6" in p and "`space.learning_rate[0]` is 1e-4" in p and "write 0.0001" in p for p in found), found


def test_a_mistake_in_the_space_has_its_line(tmp_path: Path) -> None:
    content = "name: own\nloop: m:train\nspace:\n  units: {type: int, low: 64, high: 16}\n  rate: {type: flaot}\n"
    found = problems(written(tmp_path, content))
    assert len(found) == 2
    assert "line 4: `space.units.low`" in found[0]
    assert "line 5: `space.rate.type`" in found[1]
    assert "`float`" in found[1]


def test_small_numbers_are_offered_as_yaml_reads_them(tmp_path: Path) -> None:
    found = problems(written(tmp_path, GOOD + "max_seconds: 1e-7\n"))
    assert found == (
        f"{tmp_path / 'study.yaml'}, line 4: `max_seconds` is 1e-7, which YAML reads as text; write 1.0e-07.",
    )


def test_names_all_mistakes_of_a_file(tmp_path: Path) -> None:
    content = (
        "name: a/b\ntrials: 0\ntrials: -1\nepochs: on\nspace:\n  family: mlp\ndata:\n  path: missing.csv\n"
        "  target: y\n  validation: 0\nmax_trails: 3\n"
    )
    found = problems(written(tmp_path, content))
    wanted = {
        3: "`trials` is given twice",
        1: "`name`",
        2: "`trials` is -1",
        4: "`epochs` is on",
        8: "`data.path`",
        10: "`data.validation`",
        11: "`max_trails`",
    }
    for line, words in wanted.items():
        assert any(f"line {line}: {words}" in sentence for sentence in found), (line, words, found)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("stdy.yaml", ["There is no study file", "`study.yaml`"]),
        ("nowhere/study.yaml", ["There is no study file"]),
        ("study.toml", ["unknown format", ".yaml, .yml or .json", "`study.yaml`"]),
        ("study", ["unknown format", "`study.yaml`"]),
        ("x" * 300, ["unknown format"]),
        ("nowhere/study", ["unknown format"]),
        ("", ["unknown format"]),
        ("a\0b.yaml", ["\\x00", "unknown format"]),
        ("folder.yaml", ["cannot be read", "directory"]),
        ("x" * 300 + ".yaml", ["cannot be read"]),
    ],
)
def test_refuses_a_path(tmp_path: Path, name: str, words: list[str]) -> None:
    written(tmp_path, GOOD)
    (tmp_path / "folder.yaml").mkdir()
    (sentence,) = problems(tmp_path / name)
    assert all(word in sentence for word in words), sentence


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["the file is empty"]),
        ("[]", ["a list at the top"]),
        ("3", ["a single value"]),
        ('{"name": "digits",\n "trials": }', ["line 2", "not JSON", "column"]),
        ('{"name": "digits"} {}', ["line 1", "not JSON"]),
        ('{"name": "a", "name": "b"}', ["'name'", "twice"]),
        ('{"name": "a", "trials": NaN}', ["`trials`", "nan"]),
        ('{"trials": ' + "9" * 5000 + "}", ["digits"]),
        ("[" * 100_000, ["nested"]),
        ('{"name": "\\u202e"}', ["\\u202e"]),
    ],
)
def test_refuses_a_json_file(tmp_path: Path, content: str, words: list[str]) -> None:
    found = problems(written(tmp_path, content, "study.json"))
    assert any(all(word in sentence for word in ["study.json", *words]) for sentence in found), found


def test_yaml_and_json_say_the_same(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("x,y\n1,2\n")
    form = {
        "name": "taxi",
        "data": {"path": "train.csv", "target": "y", "test": None},
        "space": {"family": "mlp"},
        "max_seconds": 1.0e-3,
        "patience": None,
    }
    text = (
        "\ufeffname: taxi  # a comment\ndata:\n  path: train.csv\n  target: 'y'\n  test: ~\nspace: {family: mlp}\n"
        "max_seconds: 1.0e-3\npatience: null\n"
    )
    yaml_study = read(written(tmp_path, text))
    assert yaml_study == read(written(tmp_path, json.dumps(form), "study.json"))
    assert yaml_study == read(written(tmp_path, text, "STUDY.YML")) == parse(form, tmp_path)
    assert yaml_study.data is not None
    assert yaml_study.data["path"] == str((tmp_path / "train.csv").resolve())


def test_quotes_make_a_text_of_anything(tmp_path: Path) -> None:
    study = read(written(tmp_path, GOOD.replace("digits\n", "'12'\n") + 'objective: "no"\n'))
    assert (study.name, study.objective) == ("12", "no")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.binary(max_size=60) | st.text("abn:-[]{}&*!|>'\"%@#,? \n\t\r0123\\\x85\u2028", max_size=60).map(str.encode))
def test_whatever_a_file_holds_ends_in_sentences(tmp_path: Path, content: bytes) -> None:
    problems(written(tmp_path, content))
    problems(written(tmp_path, content, "study.json"))
