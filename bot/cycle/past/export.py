"""`shoal export`: any front member of a past cycle as a folder that its library loads, or as a recipe file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from torch import Tensor

from bot.cycle.past.front import FrontMember, find_member, front_members
from bot.cycle.past.rebuild import fetch_origins, kept_pool, stored_recipe
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.hub.discovery.rules import OWN_TAG
from bot.hub.download import is_complete
from bot.hub.front_matter import write_front_matter
from bot.hub.inspection.member import Member
from bot.hub.pool.pool import Pool, merged_headers
from bot.hub.resolver import open_sources, source_folder
from bot.ledger.ledger import Ledger
from bot.lock import hold_home
from bot.progress import Narrator
from bot.release.publish import PROVENANCE
from bot.release.write import render_provenance, source_licences
from bot.watchlist.watchlist import Watchlist
from merging.errors import MergingError
from merging.kinds import KINDS
from merging.kinds.picture_size import with_picture_size
from merging.recipes.recipe import Recipe
from merging.sources.json_object import read_json_object
from merging.sources.weights import Weights
from merging.tokenizers.source_tokenizer import CONFIG
from merging.writing.atomic import atomic_file
from merging.writing.release import render_config, write_release
from templates.markdown import render_markdown

_WHOLE_FOLDER = "Leave out --recipe-only to export the folder"


@dataclass(frozen=True)
class Exported:
    """What was exported. files: name → SHA-256 of a folder's files; empty for a recipe alone."""

    cycle: str
    number: int
    recipe: str
    target: str
    files: Mapping[str, str]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


def export_member(
    ledger: Ledger, home: Home, hub: Hub, cycle: str, name: str, target: Path, narrator: Narrator
) -> Exported:
    """Write a front member as a new folder; what of its sources is not in the home is fetched.

    name: its number on the front, or the beginning of its recipe's digest.

    Raises:
        ShoalError, MergingError: no such member, a source is gone from the Hub, another process uses the home, or the
            folder exists or cannot be written.
    """
    member = find_member(front_members(ledger, cycle), cycle, name)
    if target.exists():
        raise ShoalError(f"{target}: already exists; remove it, or choose another folder")
    recipe, pool = stored_recipe(ledger, member.recipe), kept_pool(ledger, cycle)
    with hold_home(home):  # a cycle that fetches the same source would write the same files
        folders, config_source = fetch_origins(hub, pool, recipe, home, narrator)
    weights = open_sources(recipe.origins, folders, config_source)
    documents = {
        "README.md": render_export_card(ledger, hub.endpoint, cycle, member, recipe, pool).encode(),
        PROVENANCE: render_provenance(recipe, pool.leader.ref, cycle, KINDS[pool.kind], pool.picture_size).encode(),
        **source_licences(recipe, pool.leader.ref, folders),
    }
    with narrator.bar("writing", None), with_picture_size(config_source, pool.picture_size) as settings:
        files = write_release(recipe, weights, target, documents, config_source=settings)
    return Exported(cycle, member.number, member.recipe, str(target), files)


def export_recipe(ledger: Ledger, home: Home, hub: Hub, cycle: str, name: str, target: Path) -> Exported:
    """Write a front member's recipe as the file that its release would have.

    Raises as `render_recipe_file`; ShoalError if the file exists.
    """
    member = find_member(front_members(ledger, cycle), cycle, name)
    if target.exists():
        raise ShoalError(f"{target}: already exists; remove it, or choose another file")
    text = render_recipe_file(ledger, home, hub, cycle, name)
    with atomic_file(target) as file:
        file.write(text.encode())
    return Exported(cycle, member.number, member.recipe, str(target), {})


def render_recipe_file(ledger: Ledger, home: Home, hub: Hub, cycle: str, name: str) -> str:
    """A front member's recipe as `shoal merge` reads it, and mergekit if it can. No weights are read or fetched.

    The Hub is asked for the config of a source that is no longer in the home, if an earlier version kept the pool.

    Raises:
        ShoalError, MergingError: no such member, or no recipe file can say the merge.
    """
    member = find_member(front_members(ledger, cycle), cycle, name)
    recipe, pool = stored_recipe(ledger, member.recipe), kept_pool(ledger, cycle)
    rows = pool.vocabulary.rows if pool.vocabulary else None
    members = {one.ref: one for one in pool.read_models}
    with tempfile.TemporaryDirectory(prefix="shoal-") as name_of_folder:
        folder = Path(name_of_folder)
        config = dict(pool.leader.config) or _fetched_config(pool.leader, home, hub, folder / "fetched")
        Path(folder, CONFIG).write_bytes(render_config(config | ({} if rows is None else {"vocab_size": rows})))
        weights = {origin: _HeadersAlone(folder, pool, members[origin]) for origin in recipe.origins}
        text = KINDS[pool.kind].render_recipe(recipe, weights, folder)
    if all(line.startswith("#") for line in text.splitlines()):
        reason = text.splitlines()[0].removeprefix("# ")
        raise ShoalError(f"RECIPE: got {name!r}: {reason} {_WHOLE_FOLDER}")
    return text


def _fetched_config(member: Member, home: Home, hub: Hub, place: Path) -> dict[str, object]:
    """A model's config.json from the home, or from the Hub, whence it comes into the folder `place`."""
    whole = member.remotes[0]
    fetched = source_folder(home.sources, whole.ref)
    if not is_complete(fetched):
        fetched = place
        hub.download(whole.repo, whole.sha, CONFIG, fetched)
    return read_json_object(fetched / CONFIG)


def render_export_card(
    ledger: Ledger, hub_url: str, cycle: str, member: FrontMember, recipe: Recipe, pool: Pool
) -> str:
    """README.md: what was merged, that it is no release, and its scores on the splits by which it was chosen."""
    watchlist = ledger.kept(cycle, "watchlist", Watchlist)
    assert watchlist is not None  # kept before anything else of the cycle
    released = [entry for entry in ledger.releases(cycle) if entry.recipe == member.recipe]
    parts = dict.fromkeys(part for origin in recipe.origins for part in origin.parts)  # adapters may share a base
    kind = KINDS[watchlist.kind]
    model_class, processor_class = kind.auto_classes
    body = render_markdown(
        "export_card.md.j2",
        cycle=cycle,
        watchlist=watchlist.name,
        member=member,
        members=len(front_members(ledger, cycle)),
        skills=watchlist.skill_names,
        merge=recipe.describe(),
        released=released[0] if released else None,
        sources=[(part.location, str(part.revision)) for part in parts],
        dtype=recipe.dtype,
        notices=pool.licence.notices,
        library=kind.library,
        model_class=model_class,
        processor_class=processor_class,
        address=lambda repo, sha: f"{hub_url.rstrip('/')}/{repo}/tree/{sha}",
    )
    parents = [part.location for part in parts]
    return write_front_matter(pool.licence, parents, ["merge", OWN_TAG], kind.library, kind.pipeline_tag) + body


class _HeadersAlone(Weights):
    """Weights of which only the headers are known, as the Hub gave them when the pool was found."""

    def __init__(self, folder: Path, pool: Pool, member: Member) -> None:
        """folder: has the config.json of the merges."""
        own = member.headers if member.kind == pool.kind else {}  # of a pipeline, those of every component
        super().__init__(folder, {**own, **merged_headers(pool, member)})
        self._repo = member.repo
        changes = member.adaptation.changes if member.adaptation else ()
        self.changed = frozenset(member.components[name][0].partition(".")[0] for name in changes)
        self.converted = frozenset(name.partition(".")[0] for name in own) if member.partial else frozenset()

    def tensor(self, name: str) -> Tensor:
        raise MergingError(f"{self._repo}: its tensor {name} was not fetched")

    def verify(self) -> None:
        raise MergingError(f"{self._repo}: its tensors were not fetched")
