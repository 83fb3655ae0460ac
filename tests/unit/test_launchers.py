"""Parts of launchers that need no worker: how much fits, and what surrounds a Ray connection."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from workers.contract import LauncherError, Resources
from workers.launchers import launcher
from workers.launchers.capacity import Capacity
from workers.launchers.machine import how_ended, is_gone, process_name
from workers.launchers.ray_session import last_output, private_folder, private_token, require_answer

TWO_NODES = {"a": {"CPU": 4.0}, "b": {"CPU": 8.0, "GPU": 2.0}}


@pytest.mark.parametrize(
    ("shape", "held", "others", "room"),
    [
        (Resources(cpus=1), [], {}, 12),
        (Resources(cpus=3), [], {}, 3),  # one on a, two on b: what is left over on each is of no use
        (Resources(cpus=1), [("a", Resources(cpus=2)), ("", Resources(cpus=1))], {}, 9),
        (Resources(cpus=1), [], {"CPU": 5.0}, 7),
        (Resources(cpus=0.1), [], {"CPU": 11.7}, 3),
        (Resources(cpus=1, gpus=0.5), [], {}, 4),
        (Resources(cpus=1, gpus=0.5), [("b", Resources(cpus=1, gpus=1))], {}, 2),
        (Resources(cpus=1, gpus=2), [("b", Resources(cpus=1, gpus=0.25))], {}, 0),
        (Resources(cpus=9), [], {}, 0),
    ],
)
def test_room_in_a_cluster(
    shape: Resources, held: list[tuple[str, Resources]], others: dict[str, float], room: int
) -> None:
    assert Capacity(TWO_NODES, others).room(shape, held) == room


def test_what_no_node_can_hold_is_said() -> None:
    capacity = Capacity(TWO_NODES)
    assert capacity.misfit(Resources(cpus=8, gpus=2)) is None
    sentence = capacity.misfit(Resources(cpus=1, gpus=4))
    assert sentence is not None
    assert "1 CPUs and 4 GPUs" in sentence
    assert "8 CPUs and 2 GPUs" in sentence
    one_each = Capacity({"a": {"CPU": 4.0, "GPU": 1.0}, "b": {"CPU": 4.0, "GPU": 1.0}})
    assert "the largest has 4 CPUs and 1 GPUs" in (one_each.misfit(Resources(cpus=1, gpus=2)) or "")
    assert one_each.misfit(Resources(cpus=1, gpus=1)) is None is one_each.misfit(Resources(cpus=1, gpus=0.25))
    assert "no node that is alive" in (Capacity().misfit(Resources()) or "")


def test_an_unknown_launcher_is_refused() -> None:
    with pytest.raises(LauncherError, match="inline"):
        launcher("dask")


def test_how_a_process_ended() -> None:
    assert [how_ended(status) for status in (0, 3, -9, -200)] == [
        "with exit code 0",
        "with exit code 3",
        "by signal SIGKILL",
        "by signal 200",
    ]


def test_the_token_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    private_token()
    file = tmp_path / ".ray" / "auth_token"
    token = file.read_text()
    assert len(token) >= 32
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o644)  # as Ray leaves it
    private_token()
    assert file.read_text() == token
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_token_of_the_environment_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_TOKEN", "secret")
    private_token()
    assert list(tmp_path.iterdir()) == []


def test_folders_are_private_and_those_of_dead_processes_removed() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    mine = private_folder()
    stale = mine.with_name(f"ockham-{done.pid}-stale")
    stale.mkdir()
    again = private_folder()
    try:
        assert stat.S_IMODE(mine.stat().st_mode) == 0o700
        assert mine.exists()
        assert not stale.exists()
        assert len(str(mine)) < 40
    finally:
        mine.rmdir()
        again.rmdir()


def test_an_address_without_an_answer_is_a_sentence() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    with pytest.raises(LauncherError, match=rf"127\.0\.0\.1:{port}.*ray start"):
        require_answer(f"127.0.0.1:{port}")
    with pytest.raises(LauncherError, match="host:port"):
        require_answer("localhost")


def test_the_last_output_of_a_worker(tmp_path: Path) -> None:
    (tmp_path / f"worker-abc-01-{os.getpid()}.out").write_text(":actor_name:x\nfirst\n")
    (tmp_path / f"worker-abc-01-{os.getpid()}.err").write_text(":job_id:1\n" + "y" * 100 + "\nlast\n")
    assert last_output(tmp_path, os.getpid(), 10) == "yyyy\nlast\n"
    assert last_output(tmp_path, os.getpid(), 10_000).startswith("first\n")
    assert last_output(tmp_path, 1, 10) == ""


def test_only_a_process_of_this_very_machine_is_known_to_be_gone() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "from workers.launchers.machine import process_name; print(process_name())"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    host, pid, rest = ended.split(":", 2)
    assert is_gone(ended)
    assert not is_gone(process_name())
    assert not is_gone(f"another-{host}:{pid}:{rest}")
    assert not is_gone(f"{host}:{pid}:00000000{rest[8:]}"), "another machine, or container, of the same host name"
