"""The first steps of a cycle: check what can fail later, find and fetch the pool, look for an equal earlier cycle."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bot.cycle.audition import hold_audition
from bot.cycle.context import CycleContext
from bot.cycle.probe.trial import try_tasks
from bot.errors import ShoalError
from bot.hub.client import Hub
from bot.hub.discovery.candidate import Verdict
from bot.hub.download import IN_FILE, Fetched, SourceGone, fetch_pool, member_folders
from bot.hub.inspection.member import Member, RemoteWeights
from bot.hub.judges import JudgeModel, fetch_judges, find_judges
from bot.hub.pool.choice import invite_to_audition, needs_audition
from bot.hub.pool.find import find_family, take_first
from bot.hub.pool.pool import AnyFamily, Family, NoPool, Pool, remove_members
from bot.hub.pool.unite import with_vocabulary
from bot.hub.pool.vocabulary import describe_vocabulary
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import AUDITIONED, Cycle, Ledger, SourceEntry, State
from bot.release.hints import shoal_command
from bot.release.power import describe_hopelessness, detectable_effects, refuse_counts
from bot.release.review import is_waiting
from bot.scoring.evaluator import EvaluatorFactory
from bot.scoring.process_pool import ProcessPool
from bot.scoring.vocabulary_rows import read_fetched
from bot.search.guards import refuse_references
from bot.search.strategies.make import make_strategy
from bot.watchlist.sections import PublishSection
from bot.watchlist.watchlist import Watchlist
from evaluation.suites import SUITES
from merging.identity import ModelId
from merging.kinds import KINDS

DAMAGED = "damaged: "
"""Prefix of `fetch_pool`'s refusals for corrupt content. A commit never changes, so later cycles can reuse them; of an
adapter those alone that name the commit of its base, which may be another one by then."""


def check_before(watchlist: Watchlist, hub: Hub) -> str | None:
    """Check the namespace and the tasks, which would otherwise fail only after the search.

    Returns a warning if the gate is unlikely to let anything pass. Raises ShoalError if nothing could pass it.
    """
    if watchlist.publish.mode != "off" and watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace, collections=bool(watchlist.publish.collection))
    skills, sizes, seed = watchlist.asked_skills, watchlist.split_sizes, watchlist.search.seed
    tasks = SUITES[watchlist.kind](skills, watchlist.task_paths, sizes, seed).describe()
    if refusal := refuse_counts(watchlist, tasks):
        raise ShoalError(refusal)
    baselines, front = watchlist.max_sources + 1, watchlist.search.population
    return describe_hopelessness(detectable_effects(watchlist, tasks, baselines, front))


def prepare_pool(
    context: CycleContext, make_evaluator: EvaluatorFactory = ProcessPool
) -> tuple[Pool, dict[ModelId, Path]]:
    """Find and fetch the cycle's pool, which stays the same once it is found; returns it with its checkpoints' folders.

    make_evaluator: for the audition of more sources than a merge may have.

    Raises as `make_strategy` for a pool that does not fit the search, before any weights are fetched; and as
    `hold_audition`.
    """
    ledger, cycle = context.ledger, context.cycle.id
    try:
        pool, folders = _find_and_fetch(context, make_evaluator)
    except NoPool as error:
        ledger.record_pool(cycle, error.verdicts, ())
        raise
    for line in describe_templates(context.watchlist, pool):
        context.narrator.say(line)
    for line in describe_changes(pool.verdicts, _newest_verdicts(ledger, context.watchlist.name)):
        context.narrator.say(line)
    ledger.keep(cycle, "pool", pool, Pool)
    ledger.record_pool(cycle, pool.verdicts, _source_entries(pool, ledger.kept(cycle, "family", Family)))
    leader = pool.leader
    if pool.vocabulary is not None:
        context.narrator.say(describe_vocabulary(pool.vocabulary))
    if note := KINDS[pool.kind].release_note(folders[leader.ref]):
        context.narrator.say(f"{leader.repo}, whose tokenizer the merges use: {note}")
    return pool, folders


def prepare_judges(context: CycleContext) -> None:
    """Look up and fetch the models that judge a cycle's tasks, if there are any; they are pinned, and stay the same.

    ShoalError for one that cannot be used, before anything else is fetched.
    """
    judges = context.judges or find_judges(context.hub, context.watchlist)
    if judges:
        context.ledger.keep(context.cycle.id, JudgeModel.STAGE, judges, tuple[JudgeModel, ...])
        size = sum(judge.download_bytes for judge in judges)
        with context.narrator.bar("fetching the judges", size, in_bytes=True) as advance:
            fetch_judges(context.hub, judges, context.home.sources, lambda repo, count: advance(count, repo))


def find_missing_template(watchlist: Watchlist, pool: Pool) -> str | None:
    """A line if a skill asks with a chat template and the tokenizer of the merges has none."""
    leader = pool.leader
    for (section, index), skill in zip(watchlist.asked_keys, watchlist.asked_skills, strict=True):
        if skill.chat_template and leader.has_chat_template is False:
            return (
                f"{section}[{index}].chat_template: got true: {leader.repo}, whose tokenizer the merges use, has no "
                "chat template; write false, or pin a model with one first"
            )
    return None


def describe_templates(watchlist: Watchlist, pool: Pool) -> list[str]:
    """A line for each skill that asks some sources in another way than they were tuned for, as far as it is known."""
    chatty = [source.repo for source in pool.sources if source.has_chat_template]
    plain = [source.repo for source in pool.sources if source.has_chat_template is False]
    lines = []
    for (section, index), skill in zip(watchlist.asked_keys, watchlist.asked_skills, strict=True):
        key = f"{section}[{index}].chat_template: {skill.name} asks"
        if chatty and not skill.chat_template:
            lines.append(
                f"{key} without a chat template, but {_have(chatty)} one; models tuned for chat may answer plain "
                "prompts far worse; write true, unless that is meant"
            )
        elif plain and skill.chat_template:
            lines.append(
                f"{key} with the chat template of {pool.leader.repo}, but {_have(plain)} none and may answer worse "
                "for it; write false, unless that is meant"
            )
    return lines


def _have(repos: Sequence[str]) -> str:
    return f"{', '.join(repos)} {'have' if len(repos) > 1 else 'has'}"


def describe_changes(verdicts: Sequence[Verdict], earlier: Sequence[Verdict]) -> list[str]:
    """The verdicts that differ from the earlier ones, a line each, and a line that counts the others."""
    known = set(map(_without_refused_commit, earlier))
    fresh = [verdict for verdict in verdicts if _without_refused_commit(verdict) not in known]
    lines = [
        f"{'taken  ' if verdict.accepted else 'refused'}  {verdict.repo}: {verdict.reason}"
        for verdict in sorted(fresh, key=lambda one: one.accepted)
    ]
    if len(fresh) < len(verdicts):
        taken = sum(verdict.accepted for verdict in set(verdicts) - set(fresh))
        refused = len(verdicts) - len(fresh) - taken
        lines.append(f"{taken} accepted and {refused} refused as before; `shoal show` has the reasons")
    return lines


def _without_refused_commit(verdict: Verdict) -> Verdict:
    """A refused model's new commit is no news where the reason is the old one."""
    return verdict if verdict.accepted else replace(verdict, sha=None)


def _newest_verdicts(ledger: Ledger, watchlist: str) -> tuple[Verdict, ...]:
    """The verdicts of the watchlist's newest cycle that has any."""
    found = (ledger.verdicts(cycle.id) for cycle in ledger.cycles(watchlist))
    return next((verdicts for verdicts in found if verdicts), ())


def _find_and_fetch(context: CycleContext, make_evaluator: EvaluatorFactory) -> tuple[Pool, dict[ModelId, Path]]:
    ledger, cycle, watchlist = context.ledger, context.cycle.id, context.watchlist
    vocabulary = watchlist.search.vocabulary
    pool = ledger.kept(cycle, "pool", Pool)
    known = pool or ledger.kept(cycle, "family", Family)
    family = known or _find(context)
    pool = pool or take_first(context.hub, watchlist, family)
    # A family that cannot be searched as the watchlist asks is refused before its weights are downloaded.
    check_pool(watchlist, pool)
    if known is None:
        with context.narrator.bar("trying the tasks", None):
            try_tasks(context.hub, watchlist, pool)
    if not needs_audition(watchlist, family):
        found = _fetch(context, pool)
        pool, folders = found.pool, dict(found.folders)
        if found.refused:
            pool = with_vocabulary(pool, vocabulary, read_fetched(folders))
            check_pool(watchlist, pool)
        return pool, folders
    invited = _fetch(context, invite_to_audition(watchlist, family))
    ledger.keep(cycle, "family", invited.pool, Family)
    pool = hold_audition(context, invited.pool, invited.folders, make_evaluator)
    pool = with_vocabulary(pool, vocabulary, read_fetched(invited.folders))
    check_pool(watchlist, pool)
    return pool, member_folders(pool.read_models, context.home.sources)


def _find(context: CycleContext) -> Family:
    with context.narrator.bar("looking", None) as advance:
        found = find_family(context.hub, context.watchlist, datetime.now(UTC), lambda words: advance(0, words))
    return _without_known_damage(context.ledger, found)


def check_pool(watchlist: Watchlist, pool: Pool) -> None:
    """Raise ShoalError or MergingError for a pool that cannot be searched as the watchlist asks."""
    make_strategy(watchlist, pool)
    refusal = refuse_references(watchlist.evaluation_guards, pool)
    if refusal := refusal or find_missing_template(watchlist, pool):
        raise ShoalError(refusal)


def _fetch(context: CycleContext, family: AnyFamily) -> Fetched[AnyFamily]:
    narrator = context.narrator
    with narrator.bar("fetching", family.download_bytes, in_bytes=True) as advance:
        try:
            return fetch_pool(
                context.hub, family, context.home.sources, lambda repo, count: advance(count, repo), narrator.say
            )
        except SourceGone:
            for stage in ("pool", "family", "audition"):  # the next run finds others, without this source
                context.ledger.forget(context.cycle.id, stage)
            raise


def _without_known_damage(ledger: Ledger, family: Family) -> Family:
    """The family without the members that an earlier cycle fetched at the same commit and found damaged."""
    known = [
        member.refuse(reason)
        for member in family.read_models
        for remote in member.remotes
        for reason in ledger.refusals(remote.repo, remote.sha)
        if reason.startswith(DAMAGED) and _is_of_base(member, remote, reason) and _is_of_file(remote, reason)
    ]
    return remove_members(family, known) if known else family


def _is_of_base(member: Member, remote: RemoteWeights, reason: str) -> bool:
    """Whether a refusal of an adapter is about the commit of its base that it has now; True of whole models."""
    adaptation = member.adaptation
    return adaptation is None or remote != adaptation.adapter or adaptation.base.sha[:12] in reason


def _is_of_file(remote: RemoteWeights, reason: str) -> bool:
    """Whether a refusal of a repo is about the file that is meant now, or the whole repo."""
    file = remote.candidate.meant_file
    if file is None:
        return IN_FILE not in reason
    return re.search(rf"(?<![\w./-]){re.escape(file)}", reason) is not None


def find_equal_cycle(ledger: Ledger, cycle: Cycle, settings: PublishSection, eval_sets: Sequence[str]) -> str | None:
    """The id of an earlier cycle that leaves this one nothing to do; None where there is something new.

    It had the same watchlist, the same sources and the same evaluation sets (by their digests), and nothing is left to
    do about its releases under the current publish settings.
    """
    members = _members(ledger, cycle.id)
    for earlier in ledger.cycles(cycle.watchlist):
        if (
            earlier.digest == cycle.digest
            and _is_settled(ledger, earlier, settings)
            and ledger.kept(earlier.id, "eval_sets", tuple[str, ...]) == tuple(eval_sets)
            and _members(ledger, earlier.id) == members
        ):
            return earlier.id
    return None


def describe_equal_cycle(context: CycleContext, earlier: str) -> str:
    """Why there is nothing new, and whether releases of the equal earlier cycle still wait for a person."""
    same = f"the same sources, tasks and watchlist as {earlier}"
    if context.ledger.cycle(earlier).state is not State.REVIEW:
        return same
    decisions = cycle_decisions(context.ledger, earlier)
    waiting = sum(is_waiting(release, decisions) for release in context.ledger.releases(earlier))
    command = shoal_command("review", earlier, home=context.home, hub=context.hub)
    return f"{same}; {waiting} of its releases still wait{'s' if waiting == 1 else ''} for review: {command}"


def _is_settled(ledger: Ledger, earlier: Cycle, settings: PublishSection) -> bool:
    """Whether nothing is left to do about an earlier cycle's releases.

    A cycle that only wrote its releases counts while nothing is to be published. A cycle that published them counts if
    they would go to the same repos now: under another namespace or name there is something to publish. Where a person
    rejected all of them, there is nothing to publish anywhere.
    """
    if earlier.state in (State.NOTHING, State.REJECTED):
        return True
    if settings.mode == "off":
        return earlier.state in (State.PUBLISHED, State.REVIEW, State.WRITTEN)
    watchlist = ledger.kept(earlier.id, "watchlist", Watchlist)
    if watchlist is None or earlier.state not in (State.PUBLISHED, State.REVIEW):
        return False
    then = watchlist.publish
    return (settings.namespace, settings.name) == (then.namespace, then.name)


def _source_entries(pool: Pool, auditioned: Family | None) -> list[SourceEntry]:
    """The pool's models, and what else was fetched for it. auditioned: those of which it was chosen, if it was."""
    entries = [SourceEntry(one.repo, one.sha, "source", one.candidate.licence or "") for one in pool.sources]
    if pool.base is not None:
        entries.append(SourceEntry(pool.base.repo, pool.base.sha, "base", pool.base.candidate.licence or ""))
    beside = [(pool.last_stage, "last stage")] if pool.last_stage else []
    beside += [(one, "adapted") for one in pool.remotes]
    beside += [(one, AUDITIONED) for one in auditioned.remotes] if auditioned else []
    for one, role in beside:
        if one.repo not in {entry.repo for entry in entries}:
            entries.append(SourceEntry(one.repo, one.sha, role, one.candidate.licence or ""))
    return entries


def _members(ledger: Ledger, cycle: str) -> set[tuple[str, str, str]]:
    """What decides a cycle's merges: a model that auditioned in vain leaves everything as it was."""
    return {(one.repo, one.sha, one.role) for one in ledger.sources(cycle) if one.role != AUDITIONED}
