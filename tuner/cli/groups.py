"""Groups of commands that answer a mistyped one with the closest, at every level, and list their commands in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import click

HELP = {"help_option_names": ["-h", "--help"]}


class Group(click.Group):
    """A group whose commands are listed as they were added."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        known = self.list_commands(ctx)
        if args[0] not in known and not args[0].startswith("-") and not ctx.resilient_parsing:
            from tuner.names import brief, near

            hint = near(args[0], known, _elsewhere(ctx, known)) or f" There are: {', '.join(known)}."
            raise click.UsageError(f"There is no command {brief(args[0])}.{hint}", ctx)
        return super().resolve_command(ctx, args)


class LazyGroup(Group):
    """A group that imports a command's module when the command is used, and lists it without importing.

    Args:
        places: command -> module, attribute in it, one line of help.
        synonyms: words that a person may try and that are no command anywhere, and what to type instead.
    """

    def __init__(
        self, *args: Any, places: Mapping[str, tuple[str, str, str]], synonyms: dict[str, str], **options: Any
    ) -> None:
        super().__init__(*args, **options)
        self._places, self.synonyms = places, synonyms

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self._places:
            return None
        module, attribute, _ = self._places[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in self._places.items()])


def _elsewhere(ctx: click.Context, known: Sequence[str]) -> dict[str, str]:
    """Words that are not `known` in a group, and what to type: commands of other groups, and synonyms."""
    root = ctx.find_root()
    if not isinstance(root.command, LazyGroup):
        return {}
    words = dict(root.command.synonyms)
    for name in root.command.list_commands(root):
        group = root.command.get_command(root, name)
        for inner in group.list_commands(root) if isinstance(group, Group) else ():
            words.setdefault(inner, f"{name} {inner}")
    words |= {name: name for name in root.command.list_commands(root)}
    return {word: f"tuner {meant}" for word, meant in words.items() if word not in known}
