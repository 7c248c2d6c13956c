"""How commands read their options: by annotations, before any work; misuse is one line."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from lens_steer.arguments import admits, is_list, parsed, refused
from lens_steer.data import ContrastivePairs, set_names

# Typer 0.29 brings its own click, earlier ones import it: either way this is what misuse raises.
_UsageError: Any = typer.BadParameter.__base__


def option(
    hint: Any,
    help: str,
    *,
    convert: Callable[[str], Any] | None = None,
    check: Callable[[Any], Any] | None = None,
    kind: Callable[..., Any] = typer.Option,
    **settings: Any,
) -> Any:
    """An option whose value is held to an annotation before the command begins.

    Args:
        hint: The annotation: its range, and how an error says it. Lists are written with commas.
        help: What `--help` says.
        convert: Makes the value of the text; None reads it by the annotation.
        check: Raises a ValueError where a value that fits the annotation cannot be used.
        kind: `typer.Argument` for what has no name on the command line.

    Example:
        >>> Layer = Annotated[int, option(arguments.Layer, "The layer, counted from 0.")]
    """

    def value(text: Any) -> Any:
        try:
            if not isinstance(text, str):  # a default
                made = text
            else:
                made = parsed(hint, text) if convert is None else convert(text)
            if not admits(hint, made):
                raise refused(hint, str(text))
            if check is not None:
                check(made)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        return made

    word = "LIST" if is_list(hint) else "VALUE"
    return kind(parser=value, help=help, **{"metavar": word, **settings})


def check_each_pairs(
    names: Sequence[str], columns: Mapping[str, str] | None = None, template: str | None = None
) -> None:
    """Raise a ValueError unless all pairs can be read: those of a named set, or of a file."""
    as_they_are = columns is None and template is None
    for name in names:
        if not (as_they_are and name in set_names()):
            ContrastivePairs.load(name, columns=columns, template=template)


def check_pairs(
    names: Sequence[str], columns: Mapping[str, str] | None, template: str | None
) -> None:
    """The same for a command that is told how a file is read, which no option knows by itself.

    Raises:
        typer.BadParameter: If pairs cannot be read in that way.
    """
    try:
        check_each_pairs(names, columns, template)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="'--pairs'") from None


def columns_of(text: str) -> dict[str, str]:
    """The names of columns from `prompt=instruction,desired=good`.

    Raises:
        ValueError: If it is not of that form, or names a column twice.
    """
    parts = [part.split("=") for part in text.split(",")]
    named = {part[0].strip(): part[-1].strip() for part in parts}
    whole = all(len(part) == 2 for part in parts) and len(named) == len(parts)
    if not whole or not all({*named, *named.values()}):
        raise ValueError(
            f"got {text!r}, expected our name=theirs, separated by commas, such as "
            "prompt=instruction,desired=good"
        )
    return named


def judged_words_of(words: str) -> tuple[str, ...]:
    """Words to look for in texts, parted by the comma of any script."""
    parts = re.split("[,\uff0c\u3001\u060c]", words)
    return tuple(part.strip() for part in parts if part.strip())


class OnceCommand(TyperCommand):
    """A command that refuses an option that comes twice, of which one would be ignored."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """As for any command."""
        names = [word.partition("=")[0] for word in args]
        parameters: list[Any] = self.params
        for parameter in parameters:
            if sum(names.count(name) for name in parameter.opts) > 1:
                raise typer.BadParameter("got it twice, expected it once", ctx, parameter)
        return super().parse_args(ctx, args)


def run_command(command: Callable[[], int | None]) -> None:
    """Run a command; misuse ends with one line and exit code 2."""
    try:
        sys.exit(command() or 0)
    except _UsageError as error:
        message = error.format_message()
        if error.ctx is not None and not isinstance(error, typer.BadParameter):
            message = f"{message} ({error.ctx.command_path} --help lists what there is)"
    except typer.Abort:
        sys.exit(130)
    except ValueError as error:
        message = str(error)
    typer.echo("lens-steer: " + " ".join(message.split()), err=True)
    sys.exit(2)
