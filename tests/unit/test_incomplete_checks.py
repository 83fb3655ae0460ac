"""What is said of a dry run whose worker ended under it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from workers.contract import Training
from workers.launchers.incomplete_checks import why_incomplete
from workers.launchers.transport import Gone

TRAINING = Training("s", "m:build", False, None, None, "val_loss", "minimize", 3, None, 1.0, "artifacts")
MEMORY = "if one needs more memory than there is"


@pytest.mark.parametrize(
    ("gone", "loop", "expected"),
    [
        (Gone("node_lost", "It ended.", process_end="by signal SIGKILL"), False, True),
        (Gone("node_lost", "It ended.", process_end="unexpectedly"), False, True),
        (Gone("oom", "It ended."), False, True),
        (Gone("node_lost", "It ended.", process_end="by signal SIGKILL"), True, False),  # a loop is not trained
        (Gone("node_lost", "It ended.", process_end="with exit code 3"), False, False),
        (Gone("hang", "It did not answer."), False, False),
    ],
)
def test_memory_is_named_where_it_may_have_run_out(gone: Gone, loop: bool, expected: bool) -> None:
    assert (MEMORY in why_incomplete(gone, replace(TRAINING, loop=loop))) is expected


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("", "It ended."),
        ("one\n\n two\n", "It ended. Its last output: one | two"),
        ("I0000 00:00:1795.57 22191 cudart_stub.cc:31] no cuda\nmine\n", "It ended. Its last output: mine"),
        (
            "mine\nFatal Python error: Segmentation fault\n\nThread 0x1:\n  File x, line 3\nExtension modules: a, b\n",
            "It ended. Its last output: Fatal Python error: Segmentation fault",
        ),
    ],
)
def test_what_the_worker_said_last_is_told_without_what_says_nothing(log: str, expected: str) -> None:
    assert why_incomplete(Gone("hang", "It ended.", log), TRAINING).endswith(expected)
