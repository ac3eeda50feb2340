"""Keeps a home's state on the Hub: taken over at the start, saved after each stage and decision, and while one lasts.

Stages and decisions are noticed by looking at the ledger, so nothing that changes it has to know of the state.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from bot.errors import EXPECTED, ShoalError, failure_reason
from bot.home import Home
from bot.ledger.ledger import Ledger
from bot.ledger.snapshot import EMPTY_MARK, LedgerMark, read_mark
from bot.lock import hold_home
from bot.service.schedule_times import ScheduleTimes, stored_times
from bot.service.state.repo import FORMAT, SQUASH_EVERY, StateHead, StateManifest, StateRepo, StateTakenError
from bot.service.state.snapshot import (
    LARGEST_EDIT,
    LEDGER,
    EditableFile,
    editable_files,
    read_edits,
    restore_snapshot,
    write_snapshot,
)
from bot.version import shoal_version
from merging.writing.atomic import atomic_file

LOOK_SECONDS = 2.0
"""Seconds between looks at the ledger."""

LONGEST_UNSAVED = 600.0
"""Seconds of scoring that a lost machine may cost at most: a stage such as a search lasts for hours."""

CLAIMS = 3
"""Tries to take a state over from a process that still changes it."""

PAUSE_AFTER_FAILURE = 60.0
"""Seconds until a snapshot that failed is tried again."""


@dataclass(frozen=True)
class HomeState:
    """Which snapshot a home's ledger goes on from: the state's repo, the process's session, and what it had saved.

    restored: the mark of a snapshot that was to replace the ledger; None once that is done.
    edits: of files of releases that wait, as saved: SHA-256 by name.
    """

    repo: str
    session: str
    commit: str
    mark: LedgerMark
    restored: LedgerMark | None = None
    edits: Mapping[str, str] = field(default_factory=dict)


_HOME_STATE = TypeAdapter(HomeState)


@dataclass(frozen=True)
class Progress:
    """What a snapshot would hold: the ledger's mark, when watchlists are due, and what a person may have edited."""

    mark: LedgerMark
    times: ScheduleTimes
    files: tuple[EditableFile, ...] = ()


def is_due(now: Progress, saved: Progress, seconds: float) -> bool:
    """Whether to save: at once after a stage, a decision, a run or an edit; else after long with unsaved scores."""
    if (now.mark.milestones, now.times, now.files) != (saved.mark.milestones, saved.times, saved.files):
        return True
    return now.mark.evaluations != saved.mark.evaluations and seconds >= LONGEST_UNSAVED


def goes_on(
    kept: HomeState | None, mark: LedgerMark, head: StateHead, repo: str, edits: Mapping[str, str]
) -> bool | None:
    """Whether a home's ledger goes on as it is (True), is replaced by the state (False), or is in conflict (None).

    edits: those of the home's files now, as in `HomeState`.
    """
    if LEDGER not in head.files:
        return True
    if mark == EMPTY_MARK:
        return False
    if kept is None or kept.repo != repo:
        return None
    if kept.commit == head.commit or (head.manifest is not None and head.manifest.session == kept.session):
        return True
    if kept.restored is None and edits.items() - kept.edits.items():
        return None
    return False if mark in (kept.mark, kept.restored) else None


class StateKeeper:
    """Saves a home's state while a block runs (`kept_state`)."""

    def __init__(self, repo: StateRepo, home: Home, who: str, say: Callable[[str], None]) -> None:
        self._repo, self._home, self._who, self._say = repo, home, who, say
        self._session, self._number = secrets.token_hex(8), 0
        self._head: StateHead | None = None
        self._saved = Progress(EMPTY_MARK, {})
        self._edits: Mapping[str, str] = {}
        self._left_out: set[EditableFile] = set()
        self._saved_at = time.monotonic()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self.taken: StateTakenError | None = None

    def begin(self) -> None:
        """Take over the state, and claim it: whoever else goes on from it is refused from now on.

        Raises:
            ShoalError: the home has a ledger of its own that the state does not have.
            StateTakenError: another process changes it faster than this one can take it over.
        """
        with hold_home(self._home):
            for _ in range(CLAIMS - 1):
                with suppress(StateTakenError):
                    return self._claim()
                self.taken = None
            return self._claim()

    def pull(self) -> None:
        """Take over the state to read it, without a claim: whoever goes on from it is not disturbed.

        Raises:
            ShoalError: the home has a ledger of its own that the state does not have.
        """
        with hold_home(self._home):
            head = self._take_over()
            self._remember(head.commit, self._saved.mark)

    def _claim(self) -> None:
        self._head = self._take_over()
        self._number = self._head.manifest.number if self._head.manifest else 0
        self.save()

    def _take_over(self) -> StateHead:
        """Bring the home to the state's head, which is returned."""
        if self._home.ledger.exists():
            Ledger(self._home.ledger).close()  # brings it up to date
        head, kept, mark = self._repo.open(), _read_home_state(self._home), read_mark(self._home.ledger)
        edits = read_edits(self._home)
        verdict = goes_on(kept, mark, head, self._repo.name, edits)
        if verdict is None:
            by = f"{head.manifest.who} at {head.manifest.when}" if head.manifest else head.commit[:12]
            own = f"{self._home.ledger} has what it does not have; move that file away"
            if kept is not None and (kept.repo, kept.mark) == (self._repo.name, mark):
                names = ", ".join(sorted(edits.keys() - kept.edits.keys()) or sorted(edits))
                own = f"{self._home.folder} has {names} that it does not have; move what was edited out of the release"
            raise ShoalError(
                f"--state: {self._repo.name}: is of {by}, and {own} to go on from the state, or choose another --home"
            )
        if verdict:
            self._saved = Progress(kept.mark if kept else EMPTY_MARK, {})
            self._edits = kept.edits if kept else {}
        else:
            self._restore(head, mark)
            self._saved, self._edits = self._progress(), read_edits(self._home)
        return head

    def save(self) -> None:
        """Commit a snapshot now. StateTakenError if another process was first."""
        with self._lock:
            if self.taken is not None:
                raise self.taken
            assert self._head is not None  # `begin` set it
            self._number += 1
            self._remember(self._head.commit, self._saved.mark)  # a commit whose answer is lost is this session's
            progress, edits = self._progress(), read_edits(self._home)
            before, self._head = self._head.manifest, self._commit(self._head)
            self._saved, self._edits, self._saved_at = progress, edits, time.monotonic()
            self._say_left_out(progress)
            if self._number // SQUASH_EVERY > (before.number if before else 0) // SQUASH_EVERY:
                self._head = self._repo.squash(self._head)
            self._remember(self._head.commit, progress.mark)

    def save_if_changed(self) -> None:
        """Commit a snapshot unless the last one has everything."""
        if self._progress() != self._saved:
            self.save()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Save in a thread while a block runs. A process that came second stops the block."""
        thread = threading.Thread(target=self._watch, name="state-keeper", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    def _commit(self, head: StateHead) -> StateHead:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = StateManifest(FORMAT, self._session, self._number, self._who, now, shoal_version())
        folder = self._home.folder / ".snapshot"
        shutil.rmtree(folder, ignore_errors=True)  # left by a process that was killed
        try:
            return self._repo.commit(head, manifest, write_snapshot(self._home, folder))
        except StateTakenError as error:
            self.taken = error
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _remember(self, commit: str, mark: LedgerMark, restored: LedgerMark | None = None) -> None:
        state = HomeState(self._repo.name, self._session, commit, mark, restored, self._edits)
        with atomic_file(self._home.state) as file:
            file.write(_HOME_STATE.dump_json(state))

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_SECONDS):
            try:
                if self.taken is not None or is_due(self._progress(), self._saved, time.monotonic() - self._saved_at):
                    self.save()
            except StateTakenError:
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGTERM)
                return
            except Exception as error:  # a fault must not end the saving without a word
                self._say(f"the state was not saved, and will be again: {failure_reason(error)}")
                self._stop.wait(PAUSE_AFTER_FAILURE)

    def _progress(self) -> Progress:
        return Progress(read_mark(self._home.ledger), stored_times(self._home), editable_files(self._home))

    def _say_left_out(self, progress: Progress) -> None:
        for file in {file for file in progress.files if file.size > LARGEST_EDIT} - self._left_out:
            self._left_out.add(file)
            self._say(f"{file.path}: {file.size:,} bytes, more than the {LARGEST_EDIT:,} that a state takes; not saved")

    def _restore(self, head: StateHead, mark: LedgerMark) -> None:
        """Replace the ledger, which has a mark. Killed at any point, the next start does it again."""
        folder = self._home.folder / ".restored"
        shutil.rmtree(folder, ignore_errors=True)
        try:
            self._repo.fetch(head, folder)
            Ledger(folder / LEDGER).close()  # brings it up to date
            self._remember("", mark, read_mark(folder / LEDGER))
            restore_snapshot(folder, self._home)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        by = f", of {head.manifest.who} at {head.manifest.when}" if head.manifest else ""
        self._say(f"goes on from the state {self._repo.name}{by}")


@contextmanager
def kept_state(repo: StateRepo, home: Home, who: str, say: Callable[[str], None]) -> Iterator[StateKeeper]:
    """Keep a home's state on the Hub while a block runs; the last snapshot is committed when it ends.

    Raises:
        StateTakenError: another process was first, at any time.
        ShoalError: the state or the home cannot be used.
    """
    keeper = StateKeeper(repo, home, who, say)
    keeper.begin()
    try:
        with keeper.watching():
            yield keeper
    except BaseException as error:
        if keeper.taken is not None:
            raise keeper.taken from error
        with suppress(*EXPECTED):  # what ended the block is the news
            keeper.save_if_changed()
        raise
    keeper.save_if_changed()


def _read_home_state(home: Home) -> HomeState | None:
    try:
        return _HOME_STATE.validate_json(home.state.read_bytes())
    except (FileNotFoundError, ValidationError):
        return None
