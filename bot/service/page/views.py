"""What the pages show, read from the ledger and the home as frozen values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bot.cycle.history import CyclePage, CycleSummary, list_cycles, read_cycle
from bot.cycle.past.export import render_recipe_file
from bot.cycle.past.front import FrontMember, front_members, number_front
from bot.cycle.past.review import REVIEWED, ReleaseReview, review_cycle, waiting_cycles
from bot.errors import ShoalError
from bot.home import Home
from bot.hub.client import Hub
from bot.ledger.decisions import cycle_decisions
from bot.ledger.ledger import Cycle, Ledger, ReleaseEntry
from bot.ledger.pull_requests import cycle_pull_requests
from bot.ledger.reading import open_to_read
from bot.ledger.requests import ReviewRequest, newest_requests
from bot.ledger.webhook_calls import Wake, WebhookCall, kept_wakes, newest_call
from bot.release.folder import FileState, digest_edits
from bot.release.hints import shoal_command
from bot.release.review import is_waiting
from bot.service.facts.bot_facts import RunningFacts, WatchlistFacts, read_running, read_schedule, read_watchlists
from bot.service.facts.service_file import read_service
from bot.service.facts.standing import ScheduleSnapshot, explain_state, list_steps
from bot.service.live import read_progress
from bot.service.page.front_member import MemberView, render_member_card, view_member
from bot.service.page.front_plot import FrontPlot, plot_front
from bot.service.page.running import GrowingFront, SharedReading, read_growing_front
from merging.errors import MergingError

SHOWN_CYCLES = 50

RUNNING_SECONDS = 0.9
"""Seconds for which all open pages share one look at the running cycle; each asks once a second."""

PICTURES = (".png", ".svg")
"""Endings of the files of a release's folder that its card shows."""


class NotFoundError(ShoalError):
    """There is no such page."""


@dataclass(frozen=True)
class WaitingCycle:
    """A cycle with releases that wait for review: their roles, and the open pull requests that offer some of them."""

    cycle: str
    roles: tuple[str, ...]
    pull_requests: tuple[str, ...]


@dataclass(frozen=True)
class Overview:
    """The first page. front: of the running cycle's search. cycles: the newest ones.

    call: the Hub's last call; None before the first. wakes: watchlists that calls woke, until they run. faults:
    what keeps `shoal serve` from beginning a cycle, a line each.
    """

    running: RunningFacts | None
    front: GrowingFront | None
    watchlists: tuple[WatchlistFacts, ...]
    waiting: tuple[WaitingCycle, ...]
    cycles: tuple[CycleSummary, ...]
    review_command: str
    call: WebhookCall | None
    wakes: tuple[Wake, ...]
    faults: tuple[str, ...] = ()


@dataclass(frozen=True)
class CycleView:
    """A cycle's page.

    meaning: what its state means. steps: what it did and decided. plot: its search in two skills; None before there is
    a front. members: its front. chosen: the member that is shown. reviews: its releases as a reviewer sees them.
    requests: the newest request about a release, by role. ticks: what allows its edits, by role, as `digest_edits`.
    """

    page: CyclePage
    meaning: str
    steps: tuple[str, ...]
    plot: FrontPlot | None
    members: tuple[FrontMember, ...]
    chosen: MemberView | None
    reached: tuple[tuple[int, float], ...]
    reviews: tuple[ReleaseReview, ...]
    requests: Mapping[str, ReviewRequest]
    ticks: Mapping[str, str]

    @property
    def waiting(self) -> int:
        """Number of releases that wait as they were written, and about which nothing was asked yet."""
        undecided = [review for review in self.reviews if review.waiting and not self.is_asked(review.role)]
        return sum(not self.edited(review) for review in undecided)

    def is_asked(self, role: str) -> bool:
        """Whether a request about a release waits to be carried out."""
        return _is_open(self.requests.get(role))

    def edited(self, review: ReleaseReview) -> tuple[str, ...]:
        """The names of the files that a person edited."""
        return _edited_files(review)


@dataclass(frozen=True)
class MemberCard:
    """A front member's card, as `shoal export` writes it: its Markdown without front matter, and that part."""

    cycle: str
    member: FrontMember
    front_matter: str
    card: str


@dataclass(frozen=True)
class ReleaseView:
    """A release's page. card: the Markdown of its card, without its front matter. front_matter: that part.

    review: it as its reviewer sees it; None where its cycle has nothing to review. tick: what allows its edits.
    """

    release: ReleaseEntry
    url: str
    front_matter: str
    card: str
    review: ReleaseReview | None
    request: ReviewRequest | None
    tick: str

    @property
    def can_decide(self) -> bool:
        """Whether it waits for a decision, and none was asked for yet."""
        return self.review is not None and self.review.waiting and not _is_open(self.request)

    @property
    def edited(self) -> tuple[str, ...]:
        """The names of the files that a person edited."""
        return _edited_files(self.review) if self.review else ()


def _is_open(request: ReviewRequest | None) -> bool:
    return request is not None and request.is_open


def _edited_files(review: ReleaseReview) -> tuple[str, ...]:
    return tuple(file.name for file in review.files if file.state is FileState.EDITED)


class Desk:
    """Reads what the pages show. Every question opens the ledger anew: another process may have replaced it."""

    def __init__(self, home: Home, hub: Hub, watchlists: Sequence[Path] = ()) -> None:
        """watchlists: the files to show, whether they have a cycle yet or not."""
        self.home = home
        self._hub = hub
        self._paths = tuple(watchlists)
        self._running = SharedReading(self._read_running, RUNNING_SECONDS)

    def schedule(self) -> ScheduleSnapshot:
        """What the schedule of another process is about to do."""
        with self._ledger() as ledger:
            return read_schedule(self.home, ledger)

    def overview(self, schedule: ScheduleSnapshot) -> Overview:
        """The first page. schedule: what the schedule is about to do."""
        running = self._read_running()
        with self._ledger() as ledger:
            cycles = list_cycles(ledger) if ledger else ()
            waiting = _waiting(ledger) if ledger else ()
            call, wakes = (newest_call(ledger), kept_wakes(ledger)) if ledger else (None, ())
            front = read_growing_front(ledger, running.cycle) if ledger and running and running.cycle else None
            busy = running.watchlist if running else None
            watchlists = read_watchlists(self.home, ledger, cycles, busy, schedule, self._paths)
        service = read_service(self.home)
        faults = tuple(fault for fault in (service.held, service.schedule_fault) if fault) if service else ()
        command = self._command("review")
        return Overview(running, front, watchlists, waiting, cycles[:SHOWN_CYCLES], command, call, wakes, faults)

    def cycles(self) -> tuple[Cycle, ...]:
        """Every cycle, newest first."""
        with self._ledger() as ledger:
            return ledger.cycles() if ledger else ()

    def running(self) -> RunningFacts | None:
        """What the running cycle is doing, as of a moment ago; None if none runs. Many may ask."""
        return self._running.get()

    def growing_front(self) -> GrowingFront | None:
        """The front of the running cycle's search; None if there is none."""
        running = self.running()
        with self._ledger() as ledger:
            return read_growing_front(ledger, running.cycle) if ledger and running and running.cycle else None

    def cycle(self, cycle: str, x_skill: str | None, y_skill: str | None, member: str | None) -> CycleView:
        """A cycle's page; NotFoundError for a cycle, skill or member that there is not.

        x_skill, y_skill: the axes of the picture; by default the first two skills. member: a front member's digest.
        """
        with self._cycle_ledger(cycle) as ledger:
            page = read_cycle(ledger, self.home, cycle)
            members = number_front(page.front, page.gate_results)
            picked = _find_picked(members, cycle, member) if member is not None else None
            chosen = view_member(ledger, page, picked, self._exports(cycle, picked)) if picked else None
            reviews, requests = self._reviews(ledger, page.cycle), newest_requests(ledger, cycle)
            ticks = {one.role: self._tick(one) for one in page.releases}
        return CycleView(
            page=page,
            meaning=explain_state(page.cycle),
            steps=list_steps(page),
            plot=_plot(page, x_skill, y_skill, picked),
            members=members,
            chosen=chosen,
            reached=page.search.generations if page.search else (),
            reviews=reviews,
            requests=requests,
            ticks=ticks,
        )

    def member_card(self, cycle: str, member: str) -> MemberCard:
        """The card of a front member; NotFoundError if there is none, or it cannot be written any more."""
        with self._cycle_ledger(cycle) as ledger:
            picked = _find_picked(front_members(ledger, cycle), cycle, member)
            try:
                text = render_member_card(ledger, self._hub.endpoint, cycle, picked)
            except (ShoalError, MergingError, KeyError) as error:
                raise NotFoundError(f"{cycle}, front member {picked.number}: {error}") from error
        return MemberCard(cycle, picked, *_split_card(text))

    def member_recipe(self, cycle: str, member: str) -> str:
        """A front member's recipe as JSON; NotFoundError if there is none."""
        with self._cycle_ledger(cycle) as ledger:
            picked = _find_picked(front_members(ledger, cycle), cycle, member)
            return json.dumps(json.loads(ledger.recipe(picked.recipe)), indent=1) + "\n"

    def member_mergekit(self, cycle: str, member: str) -> str:
        """A front member's recipe as the file that `shoal merge` reads, and mergekit if it can.

        NotFoundError if there is none, or no file can say the merge. The Hub may be asked for a config.
        """
        with self._cycle_ledger(cycle) as ledger:
            picked = _find_picked(front_members(ledger, cycle), cycle, member)
            try:
                return render_recipe_file(ledger, self.home, self._hub, cycle, picked.recipe)
            except (ShoalError, MergingError, KeyError) as error:
                raise NotFoundError(f"{cycle}, front member {picked.number}: {error}") from error

    def release(self, cycle: str, role: str) -> ReleaseView:
        """A release's page; NotFoundError if the cycle has no such release, or its card is gone."""
        with self._ledger() as ledger:
            release = _find_release(ledger, cycle, role)
            reviews = self._reviews(ledger, ledger.cycle(cycle)) if ledger else ()
            request = newest_requests(ledger, cycle).get(role) if ledger else None
        try:
            text = (self.home.release(cycle, role) / "README.md").read_text(encoding="utf-8", errors="replace")
        except OSError as error:
            raise NotFoundError(f"{cycle}, {role}: its card is no longer on this machine") from error
        front_matter, card = _split_card(text)
        review = next((one for one in reviews if one.role == role), None)
        url = f"{self._hub.endpoint.rstrip('/')}/{release.repo}"
        return ReleaseView(release, url, front_matter, card, review, request, self._tick(release))

    def picture(self, cycle: str, role: str, name: str) -> bytes:
        """A picture of a release's card, by its path there; NotFoundError for any other file, and for a link."""
        with self._ledger() as ledger:
            release = _find_release(ledger, cycle, role)
        folder = self.home.release(cycle, role)
        path = folder / name
        is_linked = path.resolve() != folder.resolve() / name
        if name not in release.files or not name.endswith(PICTURES) or is_linked:
            raise NotFoundError(f"{cycle}, {role}: has no picture {name}")
        try:
            return path.read_bytes()
        except OSError as error:
            raise NotFoundError(f"{cycle}, {role}: {name} is no longer on this machine") from error

    def _tick(self, release: ReleaseEntry) -> str:
        return digest_edits(self.home.release(release.cycle, release.role), release.files)

    def _reviews(self, ledger: Ledger, cycle: Cycle) -> tuple[ReleaseReview, ...]:
        if cycle.state not in REVIEWED:
            return ()
        return review_cycle(ledger, self.home, self._hub, cycle.id).releases

    def _exports(self, cycle: str, member: FrontMember) -> tuple[str, str]:
        words = ("export", cycle, str(member.number))
        return self._command(*words, "OUT"), self._command(*words, "OUT.yml", "--recipe-only")

    def _read_running(self) -> RunningFacts | None:
        if read_progress(self.home) is None:  # as a rule: then nobody opens the ledger once a second
            return None
        with self._ledger() as ledger:
            return read_running(self.home, ledger)

    def _command(self, *words: str) -> str:
        return shoal_command(*words, home=self.home, hub=self._hub)

    @contextmanager
    def _ledger(self) -> Iterator[Ledger | None]:
        """The ledger to be read; None where there is none yet."""
        if not self.home.ledger.exists():
            yield None
            return
        ledger = open_to_read(self.home.ledger)
        try:
            yield ledger
        finally:
            ledger.close()

    @contextmanager
    def _cycle_ledger(self, cycle: str) -> Iterator[Ledger]:
        """The ledger with a cycle; NotFoundError if it has none of that name."""
        with self._ledger() as ledger:
            if ledger is None:
                raise NotFoundError(f"cycle {cycle}: there is no ledger yet")
            try:
                ledger.cycle(cycle)
            except ShoalError as error:
                raise NotFoundError(str(error)) from error
            yield ledger


def _waiting(ledger: Ledger) -> tuple[WaitingCycle, ...]:
    """The cycles with releases that wait, the oldest first."""

    def describe(cycle: str) -> WaitingCycle:
        decisions = cycle_decisions(ledger, cycle)
        roles = tuple(one.role for one in ledger.releases(cycle) if is_waiting(one, decisions))
        pulls = cycle_pull_requests(ledger, cycle)
        return WaitingCycle(cycle, roles, tuple(pulls[role].url for role in roles if role in pulls))

    return tuple(map(describe, waiting_cycles(ledger)))


def _find_picked(members: Sequence[FrontMember], cycle: str, digest: str) -> FrontMember:
    found = next((one for one in members if one.recipe == digest), None)
    if found is None:
        raise NotFoundError(f"cycle {cycle}: its front has no member {digest[:12]}")
    return found


def _find_release(ledger: Ledger | None, cycle: str, role: str) -> ReleaseEntry:
    found = ledger.releases(cycle) if ledger else ()
    entry = next((one for one in found if one.role == role), None)
    if entry is None:
        raise NotFoundError(f"cycle {cycle}: has no release {role}")
    return entry


def _plot(page: CyclePage, x_skill: str | None, y_skill: str | None, chosen: FrontMember | None) -> FrontPlot | None:
    if not page.front or not page.skills:
        return None
    for skill in (x_skill, y_skill):
        if skill is not None and skill not in page.skills:
            raise NotFoundError(f"cycle {page.cycle.id}: has no skill {skill[:60]}")
    x_skill = x_skill or page.skills[0]
    others = [skill for skill in page.skills if skill != x_skill] or [x_skill]
    return plot_front(
        page.skills,
        page.search.points if page.search else (),
        page.front,
        x_skill=x_skill,
        y_skill=y_skill or others[0],
        chosen=chosen.recipe if chosen else None,
        choice=page.choice,
    )


def _split_card(text: str) -> tuple[str, str]:
    """(front matter, the rest) of a card."""
    if text.startswith("---\n") and (end := text.find("\n---\n", 4)) > 0:
        return text[4:end], text[end + 5 :]
    return "", text
