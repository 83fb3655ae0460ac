"""What surrounds a Ray connection: private folders and tokens, the environment, and whether an address answers.

Ray makes its session folder readable and writable for everyone and its token file readable for everyone. Here
both belong to the user alone. Nothing in this module imports Ray.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from workers.contract import LauncherError, LauncherUnavailable
from workers.launchers.machine import alive, child_command, child_environment

_PREFIX = "ockham-"
_LONGEST_ROOT = 16  # characters; below longer ones the paths of Ray's sockets exceed the system's limit of 107
_CONNECT_SECONDS = 5.0
_MARKS = (b":actor_name:", b":task_name:", b":job_id:")  # lines that Ray adds


def private_folder() -> Path:
    """A new folder for one local cluster, for this user only. Those of processes that died are removed.

    Ray opens the folder it is given to everyone, so give it one inside this folder.
    """
    root = Path(tempfile.gettempdir())
    if len(str(root)) > _LONGEST_ROOT:
        root = Path("/tmp")
    for stale in root.glob(f"{_PREFIX}*"):
        pid = stale.name.removeprefix(_PREFIX).split("-")[0]
        with suppress(OSError):
            if pid.isdigit() and stale.stat().st_uid == os.getuid() and not alive(int(pid)):
                shutil.rmtree(stale, ignore_errors=True)
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=root))


def sweeper(folder: Path) -> subprocess.Popen[bytes]:
    """Start the process that clears up when this one is killed; see workers/launchers/ray_sweeper.py."""
    command = child_command("workers.launchers.ray_sweeper", str(folder))
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=child_environment(), start_new_session=True)


def private_token() -> None:
    """See to it that the token a local cluster will use is in a file that only this user can read.

    Where the environment sets a token, a file for it, or another mode, that is left alone.
    """
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return
    if os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return
    path = Path.home() / ".ray" / "auth_token"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with suppress(FileExistsError):
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(32))
        path.chmod(0o600)
    except OSError as error:
        raise LauncherError(
            f"Ray's token cannot be kept in {path}: {error.strerror}. "
            "Set RAY_AUTH_TOKEN_PATH to a file that only you can read."
        ) from None


@contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables for a while: Ray's processes inherit them, ours is left as it was.

    Ray also takes over signal handlers; they are put back.
    """
    before = {name: os.environ.get(name) for name in variables}
    main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)} if main else {}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        for number, handler in handlers.items():
            signal.signal(number, handler)


def require_answer(address: str) -> None:
    """Raise `LauncherUnavailable` where nothing accepts connections at "host:port" or "ray://host:port".

    Asked first because Ray itself tries for a minute and then ends the process.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdigit():
        raise LauncherError(
            f"The address of the Ray cluster is {address!r}; expected 'auto', 'host:port' or 'ray://host:port'."
        )
    if reason := silence(host, int(port)):
        raise LauncherUnavailable(
            f"No Ray cluster can be reached at {address}: {reason}. Start one with `ray start --head`, or correct "
            "the address."
        )


def silence(host: str, port: int) -> str | None:
    """Why nothing accepts connections there; None where something does."""
    try:
        socket.create_connection((host.strip("[]"), port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        return error.strerror or "it did not answer in time"
    return None


def last_line(error: Exception) -> str:
    """The last line of what Ray says: its first ones repeat what is known."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:500] if lines else type(error).__name__


def last_output(logs: Path, pid: int, limit: int) -> str:
    """The end of what a worker of this machine printed, at most `limit` bytes; "" where its files are elsewhere."""
    text = b""
    for path in sorted(logs.glob(f"worker-*-{pid}.out")) + sorted(logs.glob(f"worker-*-{pid}.err")):
        with suppress(OSError), path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - limit))
            text += b"".join(line for line in file if not line.startswith(_MARKS))
    return text[-limit:].decode("utf-8", "replace")
