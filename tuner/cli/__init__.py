"""The command line. `main` is what the `tuner` command calls.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 it failed, 2 the input was refused,
130 and 143 it was interrupted. Modules are imported where a command needs them: `tuner --help` answers at once.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

COMMANDS = {
    "run": ("tuner.cli.studies", "run", "Run a study from a file to its end, or resume it."),
    "study": ("tuner.cli.studies", "study", "Submit, list, show, wait for and stop studies."),
    "trial": ("tuner.cli.trials", "trial", "List, show and explain trials."),
    "model": ("tuner.cli.models", "model", "Promote, list and roll back models."),
    "serve": ("tuner.cli.service", "serve", "Run a coordinator for every study of the database."),
    "db": ("tuner.cli.service", "db", "Look after the database."),
    "doctor": ("tuner.cli.service", "doctor", "Check this machine and these settings."),
    "completion": ("tuner.cli.service", "completion", "Print the completion script of a shell."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module when the command is used, and lists it without importing."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute, _ = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in COMMANDS:
            from tuner.names import near

            raise click.UsageError(f"There is no command {args[0]!r}.{near(args[0], COMMANDS)} All of them: tuner --help", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ockham", message="Ockham %(version)s")
def tuner() -> None:
    """Ockham tunes Keras models: depth, width, activation, optimizer, and above all how much regularization.

    Settings come from TUNER_* variables; `tuner doctor` shows them. A first study: tuner run examples/digits.yaml
    """


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. Never ends in a traceback for something a user can mend."""
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
    except (KeyboardInterrupt, click.Abort) as interrupt:
        return int(getattr(interrupt, "exit_code", 130))
    except BrokenPipeError:
        sys.stderr.close()  # the reader has gone; Python would complain about it at exit
        return 1
    except Exception as error:
        return _explain(error)


def _explain(error: Exception) -> int:
    """Print a known error as its sentences and return its exit code; anything else is a bug and is raised."""
    from db.errors import DatabaseError
    from search_spaces import InvalidSpace
    from tuner.errors import InvalidInput, TunerError
    from workers.contract import LauncherError

    if not isinstance(error, (TunerError, DatabaseError, InvalidSpace, LauncherError)):
        raise error
    refused = isinstance(error, (InvalidInput, InvalidSpace))
    for line in str(error).splitlines():
        click.echo(line if line.startswith(" ") else f"tuner: {line}", err=True)
    return 2 if refused else 1
