"""`tuner serve`, `tuner db …`, `tuner doctor`, `tuner completion`."""

from __future__ import annotations

import click

from tuner.cli.groups import Group
from tuner.cli.output import emit_json, emit_table, output_option
from tuner.cli.run import LAUNCHER, WORKERS_OPTION


@click.command()
@WORKERS_OPTION
@LAUNCHER
def serve(workers: int | None, launcher: str | None) -> None:
    """Run a coordinator for every study of the database, until SIGINT or SIGTERM.

    It can be killed at any moment: the next one goes on from the rows.
    """
    from tuner import logs, service
    from tuner.configuration import Settings

    settings = Settings.load(workers=workers, launcher=launcher)
    logs.set_up(settings)
    service.serve(settings)


@click.group(cls=Group)
def db() -> None:
    """Look after the database."""


@db.command()
def upgrade() -> None:
    """Bring the schema to this version of Ockham.

    Studies, trials and models are kept. A database without a schema gets one.
    """
    from db import schema
    from db.engine import connect
    from tuner.configuration import Settings
    from tuner.databases import make_folder

    settings = Settings.load()
    make_folder(settings)
    with connect(settings.database) as database:
        schema.upgrade(database)
        click.echo(f"The schema of {database.url} is at version {schema.version(database)}.")


@click.command()
@output_option
def doctor(output: str) -> int:
    """Check this machine and these settings.

    Says what works, what does not, and what to do. Exit code 1 if anything is wrong.
    """
    from tuner import diagnosis
    from tuner.configuration import Settings

    findings = diagnosis.examine(Settings.load())
    if output == "json":
        emit_json(findings)
    else:
        emit_table(("", "what", "found"), [("ok" if f.ok else "wrong", f.what, f.found) for f in findings], "")
    return 0 if all(finding.ok for finding in findings) else 1


@click.command()
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  eval "$(tuner completion bash)"      in ~/.bashrc
    zsh:   eval "$(tuner completion zsh)"       in ~/.zshrc
    fish:  tuner completion fish | source       in ~/.config/fish/config.fish
    """
    from click.shell_completion import get_completion_class

    from tuner.cli import tuner as root

    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"There is no completion for {shell}.")
    click.echo(kind(root, {}, "tuner", "_TUNER_COMPLETE").source())
