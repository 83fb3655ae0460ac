"""Lock files, scripts and what is shipped."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import subprocess
import tomllib
from pathlib import Path

import numpy as np
import pytest

from examples import digits

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.lock"))
SCRIPTS = sorted(
    [
        *(ROOT / "scripts").iterdir(),
        ROOT / ".ci" / "run",
        *(path for path in (ROOT / "docker").iterdir() if path.is_file()),
    ]
)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """Name -> version of a lock file."""
    text = (ROOT / "requirements" / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9.-]+)(?:\[[^]]*\])?==(\S+)", text, re.MULTILINE))


def exact(requirements: list[str]) -> dict[str, str]:
    """Name -> version of the requirements that leave no choice."""
    matches = (re.fullmatch(r"([\w.-]+)(?:\[[\w,-]*\])?==(\S+)", text) for text in requirements)
    return {match[1].lower().replace("_", "-"): match[2] for match in matches if match}


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_a_lock_pins_everything_by_hash_and_names_no_index(path: Path) -> None:
    entries = re.split(r"\n(?=\S)", path.read_text().strip())
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+(\[[a-z0-9,-]+\])?==\S+", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry
    assert "://" not in path.read_text()
    assert not re.search(r"^-", path.read_text(), re.MULTILINE)


def test_the_locks_agree_with_the_project_and_with_each_other() -> None:
    """If not: scripts/lock"""
    dev, runtime, gpu = locked("dev"), locked("runtime"), locked("gpu")
    extras = PROJECT["optional-dependencies"]
    assert exact(PROJECT["dependencies"]).items() <= runtime.items()
    assert exact(extras["dev"]).items() <= dev.items()
    assert exact(extras["gpu"]).items() <= gpu.items()
    assert runtime.items() <= dev.items()
    assert runtime.items() <= gpu.items()
    assert any(name.startswith("nvidia-") for name in gpu)
    assert exact((ROOT / "requirements" / "installer.in").read_text().splitlines()) == locked("installer")


def test_every_direct_dependency_is_pinned() -> None:
    assert len(exact(PROJECT["dependencies"])) == len(PROJECT["dependencies"])


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_script_can_be_run_and_read(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert os.access(path, os.X_OK)
    assert first in ("#!/usr/bin/env bash", "#!/bin/sh", "#!/usr/bin/env python3")
    if "python" in first:
        compile(path.read_text(), str(path), "exec")
    else:
        subprocess.run([first.split("/")[-1].split()[-1], "-n", path], check=True)
        assert "set -eu" in path.read_text()


def test_the_digits_are_the_ones_of_the_licence_file() -> None:
    content = gzip.decompress(digits.DATA.read_bytes())
    assert hashlib.sha256(content).hexdigest() == "cc0c480845b94c36db90421ca4340d193495a0a003d06ae7a6b777c18ee7cf80"
    licence = digits.DATA.with_name("LICENSE-digits.md").read_text()
    assert "CC BY 4.0" in licence
    assert "BSD 3-Clause License" in licence


def test_the_digits_have_three_parts_that_share_no_row_of_the_file() -> None:
    parts = digits.load()
    assert [len(x) for x, _ in parts] == [1079, 359, 359]
    for x, y in parts:
        assert x.shape[1:] == (8, 8)
        assert x.dtype == np.float32
        assert y.dtype == np.int64
        assert (x.min(), x.max()) == (0.0, 1.0)
        assert set(y) == set(range(10))
    rows = np.concatenate([x.reshape(len(x), 64) for x, _ in parts])
    file = np.loadtxt(digits.DATA, delimiter=",", skiprows=1)[:, :64] / 16
    assert sorted(map(tuple, rows.tolist())) == sorted(map(tuple, file.astype(np.float32).tolist()))
    again = digits.load()
    assert all(np.array_equal(x, other) for (x, _), (other, _) in zip(parts, again, strict=True))
