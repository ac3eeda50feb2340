"""One cycle, from a tag on the Hub to published models: the whole way on one screen.

Each step is a function from frozen values to frozen values. What costs time is in the ledger, so a cycle that was
killed anywhere is run again from the top and comes quickly to where it stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bot.contest import search as contest
from bot.contest.findings import MeasuredRow, Ruling, SearchSummary
from bot.contest.gate import GateSettings, judge_front
from bot.contest.selection import Chosen, choose
from bot.contest.spaces import Spaces, candidate_bytes, depth, make_spaces
from bot.home import Home
from bot.hub import Hub
from bot.ledger.book import Ledger, ReleaseEntry, State
from bot.progress import Narrator
from bot.releases import write as release
from bot.releases.card_desk import Cast, measure, write_card_files, write_cycle_report
from bot.releases.handover import check_names, hand_over, release_repo, require_waiting, upload_all
from bot.scoring.bench import Bench
from bot.scoring.judge import Judge, directions
from bot.scoring.machine import Crew, device_for, fit_crew, look_around
from bot.scoring.workers import Workers
from bot.shop import Shop, now
from bot.sources.pool import Pool
from bot.stock import check_before, done_before, stock
from bot.watchlist.model import Watchlist
from evaluation.splits import Split, SplitSizes
from merging.recipe import SourceRef
from merging.search.evolution import SearchResult

Folders = Mapping[SourceRef, Path]


def run_cycle(watchlist: Watchlist, home: Home, hub: Hub, narrator: Narrator) -> str:
    """Run a cycle, or go on with the interrupted one; returns its id. The caller holds the home's lock."""
    ledger = Ledger(home.ledger)
    with narrator.bar("checking the tasks and the token", None):
        check_before(watchlist, hub)
    begun = ledger.begin(watchlist.name, watchlist.digest, now())
    shop = Shop(watchlist, home, hub, ledger, narrator, begun.id, begun.number)
    ledger.keep(begun.id, "watchlist", watchlist, Watchlist)

    pool, folders = stock(shop)
    check_names(shop, pool.licence.name_prefix)
    spaces = make_spaces(watchlist, pool)
    machine = look_around(watchlist.workers.device)
    needed = candidate_bytes(spaces, pool, watchlist.search.dtype, device_for(machine, watchlist.workers))
    crew = fit_crew(machine, needed, watchlist.workers)
    with Workers(bench_for(watchlist, pool, folders, crew), watchlist.workers.timeout) as workers:
        judge = Judge(ledger, workers, crew.workers)
        if (earlier := done_before(shop, write_exams(shop, judge))) is not None:
            shop.finish(State.UNCHANGED, f"the same sources, tasks and watchlist as {earlier}")
            return begun.id
        found = breed(shop, judge, spaces, pool)
        rulings = pass_gate(shop, judge, spaces, pool, found)
        chosen, rulings = write_chosen(shop, judge, spaces, pool, folders, rulings, found)
        cast = Cast(pool, spaces, found, rulings, chosen, crew)
        write_cards(shop, judge, cast)
    ending = hand_over(shop)
    write_cycle_report(shop, judge, cast, ending)
    shop.finish(ending.state, ending.note)
    return begun.id


def publish_waiting(ledger: Ledger, home: Home, hub: Hub, cycle: str, narrator: Narrator) -> None:
    """Send off the releases of a cycle that waits for a person; those that are there already are not sent again."""
    require_waiting(ledger, home, cycle)
    if all(release.commit for release in ledger.releases(cycle)):
        narrator.say(f"{cycle}: published already, nothing waits")
        return
    watchlist = ledger.kept(cycle, "watchlist", Watchlist)
    assert watchlist is not None  # kept before anything else of the cycle
    if watchlist.publish.namespace is not None:
        hub.check_can_write(watchlist.publish.namespace)
    shop = Shop(watchlist, home, hub, ledger, narrator, cycle, ledger.cycle(cycle).number)
    ending = upload_all(shop)
    shop.finish(ending.state, ending.note)


def bench_for(watchlist: Watchlist, pool: Pool, folders: Folders, crew: Crew) -> Bench:
    """What each worker is sent."""
    items = watchlist.items
    return Bench(
        checkpoints=tuple(folders.items()),
        skeleton=skeleton(pool),
        dtype=watchlist.search.dtype,
        skills=contest.wanted_skills(watchlist),
        task_folders=tuple(Path(folder) for folder in watchlist.task_folders),
        sizes=SplitSizes(items.search, items.validation, items.report),
        seed=watchlist.search.seed,
        crew=crew,
        rounds=watchlist.search.racing.rounds if watchlist.search.racing else 1,
    )


def skeleton(pool: Pool) -> SourceRef:
    """Whose config, tokenizer and chat template a merge has: the best source's, for bases seldom have a template."""
    return pool.sources[0].ref


def write_exams(shop: Shop, judge: Judge) -> tuple[str, ...]:
    """Have all three exams written, keep and return their digests: of all that decides scores beside the weights."""
    with shop.narrator.bar("writing the exams", len(Split)) as advance:
        digests = []
        for split in Split:
            digests.append(judge.exam(split).digest)
            advance(1, "")
    shop.ledger.keep(shop.cycle, "exams", tuple(digests), tuple[str, ...])
    return tuple(digests)


def breed(shop: Shop, judge: Judge, spaces: Spaces, pool: Pool) -> SearchResult:
    """Search on the search split, the rivals' scores beside it, and keep the summary."""
    exam = judge.exam(Split.SEARCH)
    if spaces.left_out:
        left_out = ", ".join(source.repo for source in spaces.left_out)
        shop.narrator.say(f"left out: the layers of {left_out}: raise search.dataflow.models")
    rivals = [sat for _, sat in contest.sit_rivals(judge, contest.rivals(spaces, pool), Split.SEARCH)]
    found = contest.search(shop.watchlist, spaces, judge, rivals, shop.ledger, shop.cycle, shop.narrator)
    summary = contest.summarise(found, len(exam.items), len(shop.watchlist.skills))
    shop.ledger.keep(shop.cycle, "search", summary, SearchSummary)
    shop.narrator.say(
        f"search: {summary.candidates} candidates, {summary.fully_scored} of them on all {len(exam.items)} items, "
        f"{summary.failed} failed; {summary.item_scores:,} item scores, {len(summary.front)} on the front; "
        f"{summary.stopped}"
    )
    return found


def pass_gate(shop: Shop, judge: Judge, spaces: Spaces, pool: Pool, found: SearchResult) -> tuple[Ruling, ...]:
    """Score the front and its rivals on the validation split, and apply the gate's rule."""
    gate = shop.watchlist.gate
    recipes = [scored.recipe for scored in found.front]
    with shop.narrator.bar("validating the front", len(recipes)) as advance:
        members = judge.sit(recipes, Split.VALIDATION, lambda: advance(1, ""))
    standing = contest.sit_rivals(judge, contest.rivals(spaces, pool), Split.VALIDATION)
    return judge_front(
        members,
        [(rival.name, sat) for rival, sat in standing],
        contest.wanted_skills(shop.watchlist),
        directions(judge.exam(Split.VALIDATION)),
        GateSettings(gate.confidence, gate.minimum, gate.max_degenerate),
    )


def write_chosen(
    shop: Shop,
    judge: Judge,
    spaces: Spaces,
    pool: Pool,
    folders: Folders,
    rulings: Sequence[Ruling],
    found: SearchResult,
) -> tuple[tuple[Chosen, ...], tuple[Ruling, ...]]:
    """Write the chosen members; one whose written files do not reproduce its scores is refused, with the reason."""
    recipes = {scored.recipe.digest: scored.recipe for scored in found.front}
    skills, limit = [skill.name for skill in shop.watchlist.skills], shop.watchlist.publish.max_releases
    depths = {digest: depth(recipe) for digest, recipe in recipes.items()} if spaces.smaller else None
    settled = {ruling.recipe: ruling for ruling in rulings}
    kept = []
    for chosen in choose(rulings, skills, limit, depths):
        recipe = recipes[chosen.recipe]
        target = shop.home.release(shop.cycle, chosen.role)
        release.write(recipe, folders, skeleton(pool), target, shop.cycle)
        (sat,) = judge.sit([recipe], Split.VALIDATION)
        refusal = release.confirm(judge, target, sat)
        if refusal is None:
            kept.append(chosen)
        else:
            settled[chosen.recipe] = replace(settled[chosen.recipe], passed=False, reason=refusal)
    shop.ledger.keep(shop.cycle, "gate", tuple(settled.values()), tuple[Ruling, ...])
    passed = sum(ruling.passed for ruling in settled.values())
    shop.narrator.say(f"gate: {passed} of {len(settled)} front members passed, {len(kept)} chosen for release")
    return tuple(kept), tuple(settled.values())


def write_cards(shop: Shop, judge: Judge, cast: Cast) -> None:
    """Measure the chosen on the report split, write their cards, and record the finished releases."""
    shop.ledger.drop_releases(shop.cycle, but=[chosen.role for chosen in cast.chosen])
    if not cast.chosen:
        return
    shop.ledger.keep(shop.cycle, "measured", measure(shop, judge, cast), tuple[MeasuredRow, ...])
    for chosen in cast.chosen:
        repo = release_repo(shop, chosen.role, cast.pool.licence.name_prefix)
        folder = shop.home.release(shop.cycle, chosen.role)
        if release.is_finished(shop.ledger.releases(shop.cycle), chosen, repo, folder):
            continue
        write_card_files(shop, judge, cast, chosen, repo, folder)
        entry = ReleaseEntry(shop.cycle, chosen.role, chosen.recipe, repo, release.hashes(folder))
        shop.ledger.record_release(entry, None)
