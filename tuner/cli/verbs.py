"""`tuner study pause | resume | stop | cancel | set | delete | gc`: what any process may ask of a study."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from tuner.cli.opened import opened
from tuner.cli.summaries import NOBODY, counted, unserved

if TYPE_CHECKING:
    from tuner.verbs import Verb

NAME = click.argument("name")


@click.command()
@NAME
def pause(name: str) -> None:
    """Give the study's workers back until it is resumed.

    Running trials are saved at the end of their epoch and go on from there.
    """
    from tuner.verbs import PAUSE

    _ask(name, PAUSE, f"its running trials are saved and give their workers back. Go on: tuner study resume {name}")


@click.command()
@NAME
def resume(name: str) -> None:
    """Let a paused study go on, or one that has ended.

    One that was stopped or cancelled, or that failed, goes on with the trials that its limits leave. Where these are
    used up, tuner study set changes them.
    """
    from tuner.verbs import RESUME

    _ask(name, RESUME, "it goes on, and trials that were saved go on from there")


@click.command()
@NAME
def stop(name: str) -> None:
    """Start no more trials of the study.

    Those that run are finished, and everything found is kept.
    """
    from tuner.verbs import STOP

    _ask(name, STOP, "no more trials start, and it ends when its running trials are finished")


@click.command()
@NAME
def cancel(name: str) -> None:
    """End the study now, and its running trials with it.

    Everything found is kept.
    """
    from tuner.verbs import CANCEL

    _ask(name, CANCEL, "its running trials end now")


@click.command("set")
@NAME
@click.argument("changes", nargs=-1, required=True, metavar="FIELD=VALUE...")
def set_limits(name: str, changes: tuple[str, ...]) -> None:
    """Change the study's share or its limits.

    Also while it runs. One that has ended goes on where the new limits leave something to do, with all that it has
    learned.

    FIELD is weight, priority, workers, trials, total_epochs, max_seconds, target, no_improvement or max_failures;
    VALUE is a number, or null for no limit. Example: tuner study set fares weight=2 trials=100
    """
    from tuner import verbs
    from tuner.reporting import results

    database = opened()
    edited = verbs.edit(database, name, dict(_change(text) for text in changes))
    told = ", ".join(f"{field} {'null' if value is None else value}" for field, value in edited.changes.items())
    again = f" It was {edited.reopened}, and is active again." if edited.reopened else ""
    click.echo(f"Study {name!r} has {told}.{again}")
    if edited.reopened and unserved(database, results.summary(database, name)):
        click.echo(NOBODY, err=True)


@click.command()
@NAME
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete the study with its trials and artifacts.

    Refused while a coordinator runs it, and where a promoted model comes from it.
    """
    from tuner.configuration import Settings
    from tuner.removal import delete_study
    from tuner.reporting import results

    settings = Settings.load()
    database = opened(settings)
    trials = counted(sum(results.summary(database, name).counts.values()), "trial")
    if not yes:
        click.confirm(f"Delete study {name!r} and its {trials} for good?", abort=True, err=True)
    removed = delete_study(database, settings, name)
    click.echo(f"Study {name!r} is deleted, with {trials} and {counted(len(removed), 'folder')} of artifacts.")


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def gc(dry_run: bool) -> None:
    """Remove artifacts that no study knows.

    A crash may leave them behind. Those of studies that a coordinator runs are left alone.
    """
    from tuner.configuration import Settings
    from tuner.removal import collect_garbage

    settings = Settings.load()
    found = collect_garbage(opened(settings), settings, dry_run=dry_run)
    for key in found:
        click.echo(key)
    done = "would be removed" if dry_run else "removed"
    told = f"{counted(len(found), 'folder')} {done}" if found else "nothing to remove"
    click.echo(f"Artifacts below {settings.artifacts}: {told}.", err=True)


def _change(text: str) -> tuple[str, object]:
    """A field and its new value: a number where it looks like one, None for null, else the text, to be refused."""
    field, mark, value = text.partition("=")
    if not mark:
        raise click.UsageError(f"{text!r} is no change; expected FIELD=VALUE, for example weight=2.")
    if value in ("null", "none", ""):
        return field, None
    for number in (int, float):
        try:
            return field, number(value)
        except ValueError:
            continue
    return field, value


def _ask(name: str, verb: Verb, meaning: str) -> None:
    from tuner import verbs
    from tuner.reporting import results

    database = opened()
    asked = verbs.ask(database, name, verb)
    now = results.summary(database, name)
    if not asked:
        click.echo(f"Study {name!r} is {now.state} already; nothing was changed.")
        return
    click.echo(f"Study {name!r} is {now.state}: {meaning}.")
    if unserved(database, now):
        click.echo(NOBODY, err=True)
