"""The command line. `main` is what the `tuner` command calls.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 it failed, 2 the input was refused,
130 and 143 it was interrupted. Modules are imported where a command needs them: `tuner --help` answers at once.
"""

from __future__ import annotations

import sys
from io import TextIOWrapper
from typing import Any

import click

from tuner.cli.groups import HELP, LazyGroup

COMMANDS = {
    "run": ("tuner.cli.run", "run", "Run a study from a file to its end, or resume it."),
    "study": ("tuner.cli.studies", "study", "Submit, list, show, wait for, pause, stop and change studies."),
    "trial": ("tuner.cli.trials", "trial", "List, show, explain and cancel trials."),
    "model": ("tuner.cli.models", "model", "Promote, list, alias and roll back models."),
    "serve": ("tuner.cli.service", "serve", "Run a coordinator for every study of the database."),
    "top": ("tuner.cli.top", "top", "Watch every study that has not ended."),
    "db": ("tuner.cli.service", "db", "Look after the database."),
    "doctor": ("tuner.cli.service", "doctor", "Check this machine and these settings."),
    "completion": ("tuner.cli.service", "completion", "Print the completion script of a shell."),
}

SYNONYMS = {
    "start": "run",
    "create": "study submit",
    "status": "study show",
    "publish": "model promote",
    "version": "--version",
    "help": "--help",
}
"""What a person may type who does not know the commands, and what it is here."""


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from workers.version import version

        click.echo(f"Ockham {version()}")
        ctx.exit()


@click.group(cls=LazyGroup, places=COMMANDS, synonyms=SYNONYMS, context_settings=HELP)
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_show_version,
    help="Show the version and exit.",
)
def tuner() -> None:
    """Ockham tunes Keras models: depth, width, activation, optimizer, and above all how much regularization.

    Settings come from TUNER_* variables; `tuner doctor` shows them. A first study: tuner run examples/digits.yaml
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. Never ends in a traceback for something a user can mend."""
    if isinstance(sys.stdout, TextIOWrapper):  # a terminal or a pipe that is not UTF-8 gets escapes, not an error
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.exit(call(arguments))


def call(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        result: Any = tuner.main(args=arguments, standalone_mode=False, prog_name="tuner")
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 1
    except Exception as error:
        return _explain(error)


def _forget_stdout() -> None:
    """The reader has gone: Python would complain about it once more at exit."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _explain(error: Exception) -> int:
    """Print a known error as its sentences and return its exit code; anything else is a bug and is raised."""
    from db.errors import DatabaseError, InvalidURL
    from search_spaces import InvalidSpace
    from tuner.errors import InvalidInput, TunerError
    from workers.contract import LauncherError

    if not isinstance(error, (TunerError, DatabaseError, InvalidSpace, LauncherError)):
        raise error
    for line in str(error).splitlines():
        click.echo(line if line.startswith(" ") else f"tuner: {line}", err=True)
    return 2 if isinstance(error, (InvalidInput, InvalidSpace, InvalidURL)) else 1
