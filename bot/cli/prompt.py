"""`shoal prompt`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli.exits import one_line_errors
from bot.cli.hub_client import open_hub
from bot.cli.options import AsJson, Endpoint, WatchlistPath
from bot.cli.output import show_json, terminal_narrator
from bot.errors import ShoalError
from bot.watchlist.load import load_watchlist

if TYPE_CHECKING:
    from evaluation.eval_set import ExamplePrompt


@one_line_errors
def prompt_command(
    watchlist: WatchlistPath,
    skill: Annotated[
        str | None, typer.Argument(metavar="SKILL", help="Only this skill or guard.", show_default=False)
    ] = None,
    endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Show a prompt of each task, as the models will read it.

    No model is needed. A chat template is put around the prompt later, by the tokenizer of the models.

    Example: `shoal prompt watchlists/demo.yml math`
    """
    loaded = load_watchlist(watchlist, with_tasks=True)
    names = [asked.name for asked in loaded.asked_skills]
    if skill is not None and skill not in names:
        raise ShoalError(f"SKILL: got {skill!r}: is not in {watchlist}; choose from {', '.join(names)}")
    open_hub(endpoint)  # where the tasks look for their data
    with terminal_narrator().bar("loading the tasks", None):
        from evaluation.suites import SUITES

        # All of them, because which items a task may show depends on the others.
        suite = SUITES[loaded.kind](loaded.asked_skills, loaded.task_paths, loaded.split_sizes, loaded.search.seed)
        prompts = [one for one in suite.example_prompts() if skill in (None, one.skill)]
    if as_json:
        show_json({"watchlist": loaded.name, "prompts": [asdict(one) for one in prompts]})
    else:
        typer.echo("\n\n".join(map(layout_prompt, prompts)))


def layout_prompt(one: ExamplePrompt) -> str:
    """The prompt between two lines that say what it is and how an answer is scored."""
    from bot.progress import printable

    shots = {0: "no examples", 1: "1 example"}.get(one.num_fewshot, f"{one.num_fewshot} examples")
    chat = "; put into the chat template of the models" if one.chat_template else ""
    if one.drawn is not None:
        return f"--- {one.skill}: {one.task} ---\n{printable(one.prompt)}\n--- drawn with {one.drawn} ---"
    if one.choices:
        scored = f"scored after it: {' | '.join(map(repr, one.choices))}"
    elif one.until:
        scored = f"the model's answer ends at {' | '.join(map(repr, one.until))}"
    else:
        scored = "the text itself is scored"
    space = one.prompt[len(one.prompt.rstrip()) :]
    ending = f"the prompt ends with {space!r}; " if space else ""
    head = f"--- {one.skill}: {one.task}, {shots}{chat} ---"
    return "\n".join([head, printable(one.prompt), f"--- {ending}{scored}; right: {one.expected!r} ---"])
