"""Running the command line in a test: in this process, where it costs nothing, or as the real command."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests import canary
from tuner.cli import call

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str


Tuner = Callable[..., Outcome]


def environment(home: Path, **variables: str) -> dict[str, str]:
    """This process's environment, with Ockham's own variables set for `home` alone.

    The size of a terminal is that terminal's affair: pytest's processes are told of one that is not there.
    """
    size = ("COLUMNS", "LINES")
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("TUNER_") and key not in size}
    ours = {"TUNER_HOME": str(home), "TUNER_LAUNCHER": "processes", "TUNER_WORKERS": "2"}
    return inherited | ours | {"PYTHONPATH": str(ROOT)} | variables


@contextmanager
def started(home: Path, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """`tuner ARGUMENTS` as a process of its own, which is killed at the end where it still runs."""
    command = [sys.executable, "-m", "tuner", *arguments]
    variables, pipe = environment(home, **variables), subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=variables, text=True, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: subprocess.Popen[str], part: str) -> list[str]:
    """The next lines on a started command's standard error, up to one that holds `part`."""
    assert process.stderr is not None
    lines: list[str] = []
    while not lines or part not in lines[-1]:
        lines.append(process.stderr.readline())
        assert lines[-1], f"It ended without {part!r}: {lines}"
    return lines


def ended(process: subprocess.Popen[str], seconds: float = 60) -> Outcome:
    """Wait for a started command."""
    out, err = process.communicate(timeout=seconds)
    canary.require_none_in(out, err)
    return Outcome(process.returncode, out, err)


def gone(pid: int) -> bool:
    """Whether a process has ended, also where nobody has asked for its exit status yet."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


def run(home: Path, *arguments: str, **variables: str) -> Outcome:
    """`tuner ARGUMENTS` as a process of its own, to its end."""
    with started(home, *arguments, **variables) as process:
        return ended(process)


def in_process(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], home: Path) -> Tuner:
    """A function that runs `tuner ARGUMENTS` in this process, with `home` as TUNER_HOME and the launcher `inline`."""
    for name in [name for name in os.environ if name.startswith("TUNER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TUNER_HOME", str(home))
    monkeypatch.setenv("TUNER_LAUNCHER", "inline")

    def tuner(*arguments: str) -> Outcome:
        capfd.readouterr()
        code = call(list(arguments))
        said = capfd.readouterr()
        canary.require_none_in(*said)
        return Outcome(code, *said)

    return tuner
