"""The files of a merge for people: its card, its recipe with the models' commits, its sources' licences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bot.hub.discovery.conversion import describe_conversion
from bot.hub.front_matter import write_front_matter
from bot.hub.licences import (
    LicenceError,
    ReleaseLicence,
    collect_licence_files,
    combine_licences,
    declare_licences,
)
from bot.hub.resolver import ModelFiles
from bot.merge_command.plan import MergePlan
from merging.identity import ModelId
from merging.kinds import kind_of
from merging.mergekit.text import as_comment
from merging.writing.companions import RECIPE_NAME
from templates.markdown import render_markdown

CARD = "README.md"


def render_documents(plan: MergePlan, folders: Mapping[ModelId, Path], name: str, hub_url: str) -> dict[str, bytes]:
    """The documents by file name. folders: the sources' folders. name: the merge's name. hub_url: the Hub's address."""
    recipe = pin_recipe(plan)
    limits = "".join(as_comment(sentence) for one in plan.stages for sentence in one.mergekit_limits)
    named = {
        _repo(model.files) or folders[source].name: folders[source]
        for source, model in plan.sources.items()
        if folders[source].is_dir()  # a single file has no licence beside it
    }
    card = render_merge_card(plan, recipe, name, hub_url)
    written = recipe if recipe.startswith(limits) else limits + recipe  # a release's recipe says so itself
    return {RECIPE_NAME: written.encode(), CARD: card.encode(), **collect_licence_files(named)}


def pin_recipe(plan: MergePlan) -> str:
    """The recipe's text with the commit of every model from the Hub; folders stay as they are written."""
    names: dict[ModelId, str] = {}
    for stage in plan.recipe.stages.ordered:
        for mention in stage.config.mentions:
            if source := plan.sources.get(mention.model):
                written = (mention.written.plain, mention.written.adapter)
                parts = zip(written, source.parts, strict=False)
                names |= {spelling: str(part.id) for spelling, part in parts if spelling and part.remote}
    return plan.recipe.with_names(names)


def render_merge_card(plan: MergePlan, recipe: str, name: str, hub_url: str) -> str:
    """README.md: front matter for the Hub, what was merged, and the recipe."""
    licence, kind = find_licence(plan), kind_of(plan.assembly.config)
    model_class, processor_class = kind.auto_classes
    body = render_markdown(
        "merge_card.md.j2",
        name=name,
        method=plan.config.method,
        stages=[(one.stage.name, one.assembly.method) for one in plan.stages[:-1]],
        models=[
            (
                source.written.location if part is source.files else part.id.location,
                part.remote,
                part is source.adapter,
                part.place_in_words,
            )
            for source in plan.sources.values()
            for part in source.parts
        ],
        conversions=[
            (remote.repo, how)
            for source in plan.sources.values()
            for remote in source.remotes
            if (how := describe_conversion(remote.candidate))
        ],
        base=plan.config.base.location if plan.config.base else None,
        carrier=plan.config.carrier.location if plan.config.carrier else None,
        dtype=plan.assembly.dtype,
        parameters=plan.parameters,
        library=kind.library,
        model_class=model_class,
        processor_class=processor_class,
        unlike_mergekit=[sentence for one in plan.stages for sentence in one.mergekit_limits],
        recipe=recipe,
        recipe_name=RECIPE_NAME,
        notices=licence.notices if licence else (),
        address=lambda repo, sha: f"{hub_url.rstrip('/')}/{repo}/tree/{sha}",
    )
    repos = [remote.repo for source in plan.sources.values() for remote in source.remotes]
    tags = ["merge"] if kind.mergekit_refusal else ["merge", "mergekit"]
    return write_front_matter(licence, repos, tags, kind.library, kind.pipeline_tag) + body


def find_licence(plan: MergePlan) -> ReleaseLicence | None:
    """The merge's licence by the cards of its sources; None if one of them has none, or if they exclude each other."""
    remotes = [part.remote for source in plan.sources.values() for part in source.parts]
    if None in remotes:
        return None  # a folder has no card
    declared = [entry for remote in remotes if remote for entry in declare_licences(remote.candidate)]
    try:
        return combine_licences(declared, noncommercial=True)
    except LicenceError:
        return None


def _repo(files: ModelFiles) -> str | None:
    return files.remote.repo if files.remote else None
