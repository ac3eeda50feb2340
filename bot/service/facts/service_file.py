"""What `shoal serve` has in hand, in a small file: `shoal status` and the page may be in another process."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from pydantic import TypeAdapter, ValidationError

from bot.home import Home
from bot.lock import is_schedule_held
from bot.service.live import replace_file
from bot.service.retries import PlannedRetry


@dataclass(frozen=True)
class ServiceState:
    """What a `shoal serve` has in hand.

    files: a watchlist's name → its file. due: the names that are due and wait for their turn.
    retries: by a watchlist's name. held: why no cycle begins now; empty where one may. schedule_fault: why the schedule
    cannot be used; empty where it can. lost_notifications: messages that did not arrive since the start.
    """

    started: datetime
    files: Mapping[str, str] = field(default_factory=dict)
    due: tuple[str, ...] = ()
    retries: Mapping[str, PlannedRetry] = field(default_factory=dict)
    held: str = ""
    schedule_fault: str = ""
    lost_notifications: int = 0


_STATE = TypeAdapter(ServiceState)


def read_service(home: Home) -> ServiceState | None:
    """What the home's `shoal serve` has in hand; None if none runs. Nothing is written."""
    try:
        content = home.service.read_bytes()
    except OSError:
        return None
    if not is_schedule_held(home):  # left behind by a process that was killed
        return None
    try:
        return _STATE.validate_json(content)
    except ValidationError:
        return None


class ServiceFile:
    """Keeps the file up to date; any thread may."""

    def __init__(self, home: Home) -> None:
        self._path = home.service
        self._changing = threading.Lock()
        self._state = ServiceState(datetime.now(UTC))

    def update(self, **changed: object) -> None:
        """Change fields of the state; the file is written only where that changes it."""
        with self._changing:
            state = replace(self._state, **changed)  # type: ignore[arg-type]
            if state != self._state or not self._path.exists():
                self._state = state
                replace_file(self._path, _STATE.dump_json(state).decode())

    def count_lost_notification(self) -> None:
        """One more message did not arrive."""
        self.update(lost_notifications=self._state.lost_notifications + 1)

    def close(self) -> None:
        """Remove the file: the service ends."""
        self._path.unlink(missing_ok=True)
