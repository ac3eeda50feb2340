"""What lies beside a merge's weights for people: its card, its recipe with pinned models, its sources' licences."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from bot.hub.licences import Declared, LicenceError, ReleaseLicence, combine, licence_files
from bot.merge_command.adapters import AdapterOrigin
from bot.merge_command.origins import Origin
from bot.merge_command.preparation import MergePlan
from merging.mergekit.config import ModelName
from merging.writing.release import RECIPE_NAME
from templates.escaping import plain
from templates.markdown import render

CARD = "README.md"


def documents(plan: MergePlan, folders: Mapping[ModelName, Path], name: str, hub_url: str) -> dict[str, bytes]:
    """All of them by file name. name: of the merge. hub_url: where its repos are."""
    pinned = pinned_recipe(plan)
    named = {origin.repo or folders[model].name: folders[model] for model, origin in plan.origins.items()}
    card = write_card(plan, pinned, name, hub_url)
    return {RECIPE_NAME: pinned.encode(), CARD: card.encode(), **licence_files(named)}


def pinned_recipe(plan: MergePlan) -> str:
    """The file as it was given, with the commit behind every model that came from the Hub."""
    names = {name.plain: origin.plain for name, origin in plan.origins.items()}
    adapters = [origin.adapter for origin in plan.origins.values() if origin.adapter]
    return plan.recipe.pinned(names | {adapter.name: adapter.pinned for adapter in adapters})


def write_card(plan: MergePlan, recipe: str, name: str, hub_url: str) -> str:
    """README.md: front matter that the Hub takes, what was merged, and the recipe."""
    licence = licence_of(plan)
    body = render(
        "merge_card.md.j2",
        name=name,
        method=plan.config.method,
        stages=[(one.stage.name, one.assembly.method) for one in plan.stages[:-1]],
        models=[_row(part) for origin in plan.origins.values() for part in (origin, origin.adapter) if part],
        base=plan.config.base.path if plan.config.base else None,
        dtype=plan.assembly.dtype,
        parameters=plan.parameters,
        recipe=recipe,
        recipe_name=RECIPE_NAME,
        notices=licence.notices if licence else (),
        address=lambda repo, sha: f"{hub_url.rstrip('/')}/{repo}/tree/{sha}",
    )
    return f"---\n{front_matter(plan, licence)}\n---\n\n{body}"


def _row(part: Origin | AdapterOrigin) -> tuple[str, str | None, str | None, bool]:
    """A model or an adapter in the card's table: its name, repo and commit, and whether it is an adapter."""
    name, member = part.name.plain.path, part.member
    return name, member.repo if member else None, member.sha if member else None, isinstance(part, AdapterOrigin)


def front_matter(plan: MergePlan, licence: ReleaseLicence | None) -> str:
    """The card's YAML, as huggingface_hub writes it. Folders are nobody's base model on the Hub."""
    from huggingface_hub import ModelCardData

    repos = [plain(member.repo) for origin in plan.origins.values() for member in origin.members]
    data = ModelCardData(
        license=licence.id if licence else None,
        library_name="transformers",
        pipeline_tag="text-generation",
        base_model=list(dict.fromkeys(repos)) or None,
        base_model_relation="merge" if repos else None,
        tags=["merge", "mergekit"],
    )
    return data.to_yaml()


def licence_of(plan: MergePlan) -> ReleaseLicence | None:
    """What the merge is under, by the cards of its sources; None where they do not tell, or exclude each other."""
    origins = plan.origins.values()
    if any(one.folder for origin in origins for one in (origin, origin.adapter) if one):
        return None
    members = [member for origin in origins for member in origin.members]
    declared = [Declared(member.repo, member.candidate.licence) for member in members]
    try:
        return combine(declared, noncommercial=True)
    except LicenceError:
        return None
