"""The commands that work on watchlist files alone: `shoal check` and `shoal init`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.options import AsJson
from bot.cli.output import show_json
from bot.errors import ShoalError
from bot.watchlist.load import load_watchlist
from bot.watchlist.values import parse_amount

if TYPE_CHECKING:
    from bot.watchlist.starter import StarterChoices
    from bot.watchlist.watchlist import Watchlist


@dataclass(frozen=True)
class CheckedFile:
    """A watchlist's file, and the watchlist or what is wrong with it, a line for each fault."""

    file: Path
    watchlist: Watchlist | None
    faults: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        found = self.watchlist
        return {
            "file": str(self.file),
            "valid": found is not None,
            "watchlist": found.name if found else None,
            "digest": found.digest if found else None,
            "faults": list(self.faults),
        }


def check_file(file: Path) -> CheckedFile:
    """Read a file and check it."""
    try:
        return CheckedFile(file, load_watchlist(file, with_tasks=True), ())
    except ShoalError as error:
        return CheckedFile(file, None, tuple(str(error).splitlines()))


@one_line_errors
def check_command(
    watchlists: Annotated[
        list[Path], typer.Argument(metavar="WATCHLISTS", help="Watchlists (YAML files); - for standard input.")
    ],
    as_json: AsJson = False,
) -> None:
    """Check watchlists without using the network.

    Example: `shoal check watchlists/*.yml`
    """
    checked = [check_file(file) for file in watchlists]
    if as_json:
        show_json({"watchlists": [one.as_json() for one in checked]})
    else:
        for one in checked:
            if one.watchlist is not None:
                typer.echo(f"{one.file}: fine. {_describe(one.watchlist)}")
    if faults := [fault for one in checked for fault in one.faults]:
        raise ShoalError("\n".join(faults))


def _describe(watchlist: Watchlist) -> str:
    due = f"{watchlist.schedule.cron} {watchlist.schedule.timezone}" if watchlist.schedule else "by hand"
    search = watchlist.search
    how = f"{search.method}, drawn {search.drawing}" if search.drawing else search.method
    return f"{watchlist.name}: skills {', '.join(watchlist.skill_names)}; {how}; runs {due}"


@one_line_errors
def init_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")] = Path("watchlist.yml"),
    base: Annotated[
        str | None, typer.Option(help="The model whose fine-tunes are merged, owner/name.", show_default=False)
    ] = None,
    tags: Annotated[
        list[str] | None,
        typer.Option("--tag", help="A Hub tag of the models; default: fine-tunes of --base.", show_default=False),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(help="Parameters of the models, such as 360M; default: as --base says.", show_default=False),
    ] = None,
    licences: Annotated[
        list[str] | None,
        typer.Option("--licence", help="A licence to accept; default: all that allow merging.", show_default=False),
    ] = None,
    skills: Annotated[
        list[str] | None,
        typer.Option(
            "--skill",
            help="knowledge, sense, math, japanese-math or NAME=TASK:METRIC; may be repeated.",
            show_default=False,
        ),
    ] = None,
    namespace: Annotated[
        str | None, typer.Option(help="Where to publish; default: nowhere yet.", show_default=False)
    ] = None,
) -> None:
    """Write a first watchlist of language models, with comments.

    For models that see or draw, start from one of the files in `watchlists/`. On a terminal it asks for whatever is
    not given as an option. An existing file is never overwritten.

    Example: `shoal init my.yml --base HuggingFaceTB/SmolLM2-360M`
    """
    from bot.watchlist.starter import starter_watchlist

    if file.exists():
        raise ShoalError(f"{file}: already exists; choose another name")
    choices = _ask_for_choices(file, base, tags or [], size, licences or [], skills or [], namespace)
    text = starter_watchlist(choices)
    _check_text(text, file)
    with file.open("x", encoding="utf-8") as stream:
        stream.write(text)
    typer.echo(
        f"wrote {file}. Read it, then run `shoal plan {file}`: it shows what a run would find, download and cost."
    )
    if choices.namespace is None:
        typer.echo(
            "To publish, set publish.mode and publish.namespace in it, and HF_TOKEN to a token that may write there."
        )
    else:
        typer.echo(f"Before `shoal run {file}`, set HF_TOKEN to a token that may write to {choices.namespace}.")


def _ask_for_choices(
    file: Path,
    base: str | None,
    tags: list[str],
    size: str | None,
    licences: list[str],
    skills: list[str],
    namespace: str | None,
) -> StarterChoices:
    """The choices as given, or else as a person on the terminal answers, or else the defaults."""
    from bot.watchlist.starter import KNOWN_SKILLS, StarterChoices, name_of, parse_skills, short_amount, size_in

    base = base or _ask("The model whose fine-tunes are merged, owner/name (empty: as they declare it)", "")
    tags = tags or _ask("Hub tags of the models", f"base_model:finetune:{base}" if base else "").split()
    if not tags:
        raise ShoalError("--base: got nothing: no model would be found; name a base, or a --tag of the models")
    usual = size_in(base)
    size = size or _ask("Parameters of the models, such as 360M (empty: any)", short_amount(usual) if usual else "")
    licences = licences or _ask("Licences to accept (empty: all that allow merging)", "").split()
    skills = skills or _ask(f"Skills, of {', '.join(KNOWN_SKILLS)}, or NAME=TASK:METRIC", "knowledge sense").split()
    namespace = namespace or _ask("User or organisation to publish under (empty: nowhere yet)", "")
    return StarterChoices(
        name=name_of(file.stem),
        tags=tuple(tags),
        base=base or None,
        parameters=_parse_parameters(size) if size else None,
        licences=tuple(licences),
        skills=parse_skills(skills),
        namespace=namespace or None,
    )


def _ask(question: str, default: str) -> str:
    """A person's answer; the default where there is no terminal."""
    if not sys.stdin.isatty():
        return default
    answer: str = typer.prompt(question, default=default, err=True, show_default=bool(default))
    return answer.strip()


def _parse_parameters(text: str) -> int:
    try:
        number = parse_amount(text)
    except ValueError:
        number = 0
    if number < 1:
        raise ShoalError(f"--size: got {text!r}: is not a model size; write one such as 360M or 7B")
    return number


def _check_text(text: str, file: Path) -> None:
    """Raise the errors of a watchlist that is not written yet, under the name that it is to have."""
    with TemporaryDirectory() as folder:
        draft = Path(folder) / file.name
        draft.write_text(text, encoding="utf-8")
        try:
            load_watchlist(draft, with_tasks=True)
        except ShoalError as error:
            raise ShoalError(f"{str(error).replace(str(draft), str(file))}; nothing was written") from None
