"""Clears up after a local Ray cluster whose program was killed: `python -m workers.launchers.ray_sweeper FOLDER`.

Ray's own processes end with their program, but for its agents, which wait for a minute for a server that is
gone, and its session folder, which stays. This process waits for the end of its standard input, which its
parent holds open; a parent that ends properly has removed the folder by then, and nothing is left to do.
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

_GRACE_SECONDS = 2.0  # in which Ray's processes end by themselves


def main(folder: Path) -> None:
    """Wait for the parent's end; then end every process that has a file open in `folder`, and remove it."""
    sys.stdin.buffer.read()
    if not folder.exists():
        return
    time.sleep(_GRACE_SECONDS)

    import psutil

    for process in psutil.process_iter():
        try:
            if any(Path(file.path).is_relative_to(folder) for file in process.open_files()):
                process.kill()
        except psutil.Error:
            continue  # it has ended, or belongs to somebody else
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
