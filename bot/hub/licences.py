"""The licence policy: which licences may be merged with each other, and what the merge must carry. Not legal advice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bot.errors import ShoalError
from bot.hub.discovery.candidate import Candidate, is_licence_file
from bot.watchlist.licence_ids import LICENCES, LicenceKind

_NAMES = MappingProxyType(
    {"llama2": "Llama 2", "llama3": "Llama 3", "llama4": "Llama 4"}
    | {f"llama3.{minor}": f"Llama 3.{minor}" for minor in (1, 2, 3)}
)

_CREATIVEML = MappingProxyType(
    {
        "creativeml-openrail-m": (
            " (CreativeML Open RAIL-M of August 22, 2022, huggingface.co/spaces/CompVis/stable-diffusion-license)"
        ),
        "openrail++": (
            " (CreativeML Open RAIL++-M of July 26, 2023, "
            "huggingface.co/stabilityai/stable-diffusion-xl-base-1.0/blob/main/LICENSE.md)"
        ),
    }
)
"""The OpenRAIL licences of image generators, with title, date, and where the text is; their Attachments A are equal."""

_SLASH = "--"
"""Stands for the slash of a repo in a file's name."""


@dataclass(frozen=True)
class DeclaredLicence:
    """The licence that a repo's card declares: an id of the Hub, None where it declares none.

    ancestor: whether the repo is only an ancestor of a merged model.
    unseen: why its card cannot be read, or None.
    stated: whether not the card declares it, but the watchlist, for want of a declaration.
    """

    repo: str
    licence: str | None
    ancestor: bool = False
    unseen: str | None = None
    stated: bool = False


def declare_licences(candidate: Candidate, *, ancestor: bool = False) -> tuple[DeclaredLicence, ...]:
    """What a model's card declares: an entry for each licence that it lists, all of which have to allow a merge."""
    return tuple(
        DeclaredLicence(candidate.repo, licence, ancestor, stated=candidate.stated)
        for licence in candidate.licences or (None,)
    )


@dataclass(frozen=True)
class ReleaseLicence:
    """The licence of a release, and the conditions that come with it.

    name, link: for the card, where the id is "other"; None for the Hub's own ids.
    notices: sentences the card must hold. restricted: whether it must also hold the list of uses that the CreativeML
    OpenRAIL licences do not allow. in_file: whether the notices must be in a file of their own besides.
    name_prefix: what the repo's name must start with; None: anything.
    """

    id: str
    name: str | None
    link: str | None
    notices: tuple[str, ...]
    name_prefix: str | None
    restricted: bool = False
    in_file: bool = False


class LicenceError(ShoalError):
    """The licences do not allow this merge to be published; the message is the reason."""


def licence_kind(licence: str | None) -> LicenceKind | None:
    """The kind of a licence id; None for one that shoal has no rule for."""
    return LICENCES.get(licence.lower()) if licence else None


def licence_refusal(declared: DeclaredLicence, *, noncommercial: bool) -> str | None:
    """The reason why this licence keeps a model out of every merge; None if it does not."""
    whose = f"its ancestor {declared.repo}" if declared.ancestor else "it"
    kind = licence_kind(declared.licence)
    if declared.unseen:
        return f"its declared base model {declared.repo} {declared.unseen}, so its licence is unknown"
    if declared.licence is None:
        remedy = "" if declared.ancestor else "; a pinned model's key licence can state it"
        return f"{whose} declares no licence{remedy}"
    if kind is None:
        return f"{whose} declares the licence {declared.licence[:40]!r}, for which shoal has no rule"
    if kind is LicenceKind.FORBIDS and not declared.stated:  # a watchlist that states one does not publish
        return f"{whose} has the licence {declared.licence}, which forbids publishing a merge"
    if kind in (LicenceKind.NONCOMMERCIAL, LicenceKind.SHARE_ALIKE) and not noncommercial:
        return f"{whose} has the licence {declared.licence}, and noncommercial is not set in the watchlist"
    return None


def licence_conflict(declared: Sequence[DeclaredLicence]) -> str | None:
    """The reason why licences that are acceptable alone cannot be merged with each other; None if they can."""
    bearing = {entry.licence.lower(): entry for entry in declared if _binds_merge(entry) and entry.licence}
    kinds = {LICENCES[licence]: entry for licence, entry in bearing.items()}
    families = [kind for kind in kinds if kind is not LicenceKind.NONCOMMERCIAL]
    restricted = LicenceKind.NONCOMMERCIAL in kinds and bool(
        {LicenceKind.LLAMA, LicenceKind.GEMMA, LicenceKind.OPENRAIL, LicenceKind.STABILITY} & set(kinds)
    )
    llamas = [licence for licence in bearing if LICENCES[licence] is LicenceKind.LLAMA]
    alike = [licence for licence in bearing if LICENCES[licence] is LicenceKind.SHARE_ALIKE]
    if len(families) > 1 or restricted or len(llamas) > 1 or len(alike) > 1:
        parts = [f"{licence} ({entry.repo})" for licence, entry in sorted(bearing.items())]
        return f"licences that exclude each other: {', '.join(parts)}"
    return None


def combine_licences(declared: Sequence[DeclaredLicence], *, noncommercial: bool) -> ReleaseLicence:
    """The licence of a merge of these models (sources, base and their ancestors).

    Raises:
        LicenceError: one of them cannot be merged at all, or not with the others.
    """
    for entry in declared:
        if reason := licence_refusal(entry, noncommercial=noncommercial):
            raise LicenceError(f"licences of the pool: {entry.repo}: {reason}")
    if reason := licence_conflict(declared):
        raise LicenceError(reason)
    by_kind: dict[LicenceKind, list[DeclaredLicence]] = {}
    for entry in declared:
        by_kind.setdefault(LICENCES[str(entry.licence).lower()], []).append(entry)
    notices = (_attribution(declared),)
    for kind in (
        LicenceKind.FORBIDS,
        LicenceKind.LLAMA,
        LicenceKind.GEMMA,
        LicenceKind.OPENRAIL,
        LicenceKind.STABILITY,
        LicenceKind.SHARE_ALIKE,
        LicenceKind.NONCOMMERCIAL,
    ):
        if kind in by_kind:
            return _bound_licence(kind, sorted({str(entry.licence).lower() for entry in by_kind[kind]}), notices)
    ids = {str(entry.licence).lower() for entry in declared}
    return ReleaseLicence("mit" if ids == {"mit"} else "apache-2.0", None, None, notices, None)


def _binds_merge(entry: DeclaredLicence) -> bool:
    return licence_kind(entry.licence) not in (None, LicenceKind.PERMISSIVE, LicenceKind.FORBIDS)


def _attribution(declared: Sequence[DeclaredLicence]) -> str:
    parts = [f"{entry.repo} ({entry.licence}{', which its card does not say' * entry.stated})" for entry in declared]
    made_from = ", ".join(dict.fromkeys(parts))
    return f"This model is made from {made_from}; their copyright notices and licences apply."


def _bound_licence(kind: LicenceKind, licences: Sequence[str], notices: tuple[str, ...]) -> ReleaseLicence:
    """The licence of a merge in which the licences of one kind bind the whole. licences: their ids, in order."""
    extra: tuple[str, ...]
    licence = licences[-1]
    if kind is LicenceKind.FORBIDS:
        return ReleaseLicence("other", licence, None, (*notices, "This model must not be published."), None)
    if kind is LicenceKind.LLAMA:
        name = _NAMES[licence]
        extra = (
            "Built with Llama.",
            f"{name} is licensed under the {name} Community License, Copyright © Meta Platforms, Inc. "
            "All Rights Reserved.",
        )
        return ReleaseLicence(licence, None, None, (*notices, *extra), "Llama")
    if kind is LicenceKind.GEMMA:
        extra = (
            "Gemma is provided under and subject to the Gemma Terms of Use, ai.google.dev/gemma/terms.",
            "Use must follow the Gemma Prohibited Use Policy; whoever passes this model on passes both on.",
        )
    elif kind is LicenceKind.OPENRAIL:
        return _openrail_licence(licences, notices)
    elif kind is LicenceKind.STABILITY:
        extra = (
            "Powered by Stability AI.",
            "This Stability AI Model is licensed under the Stability AI Community License, "
            "Copyright © Stability AI Ltd. All Rights Reserved.",
            "It was changed: its weights are merged with those of others. Use must follow Stability AI's Acceptable "
            "Use Policy; who earns more than the licence allows needs another licence for commercial use.",
        )
        return ReleaseLicence("other", licence, "https://stability.ai/license", (*notices, *extra), None, in_file=True)
    else:
        extra = ("Commercial use is not allowed.",)
    return ReleaseLicence(licence, None, None, (*notices, *extra), None)


def _openrail_licence(licences: Sequence[str], notices: tuple[str, ...]) -> ReleaseLicence:
    """The licence of a merge with models under OpenRAIL licences: their use restrictions are passed on."""
    named = " and ".join(f"{licence}{_CREATIVEML.get(licence, '')}" for licence in licences)
    extra = (
        f"The use restrictions of {named} apply to this model and to whatever is made from it: whoever uses it is "
        "bound by them, and whoever passes it on passes them on, with a copy of the licence. A source's own card may "
        "restrict more.",
        "The files were changed: the weights are merged with those of others.",
    )
    restricted = not _CREATIVEML.keys().isdisjoint(licences)
    return ReleaseLicence(licences[-1], None, None, (*notices, *extra), None, restricted)


def notice_file(licence: ReleaseLicence) -> dict[str, bytes]:
    """The file with a release's notices by its name, where its licence asks for one; else none."""
    return {"NOTICE": ("\n".join(licence.notices) + "\n").encode()} if licence.in_file else {}


def collect_licence_files(folders: Mapping[str, Path]) -> dict[str, bytes]:
    """The licence and notice files in the folders of some repos, each under a name with its repo."""
    found: dict[str, bytes] = {}
    for repo, folder in folders.items():
        for path in sorted(folder.iterdir()):
            if is_licence_file(path.name) and path.is_file():
                # Always with an ending, because the end of the repo's name may look like one (.safetensors).
                name = f"{path.stem}-{repo.replace('/', _SLASH)}{path.suffix or '.txt'}"
                found[name] = found.get(name, b"") + path.read_bytes()
    return found


def is_source_licence(name: str) -> bool:
    """Whether a release's file is the licence file of a source, as `collect_licence_files` names it."""
    file, dash, repo = name.partition("-")
    return bool(dash) and _SLASH in repo and is_licence_file(file)
