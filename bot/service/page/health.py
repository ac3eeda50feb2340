"""The health of the bot, for `/healthz` and `/metrics`."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime

from bot.errors import ShoalError, failure_reason
from bot.hub.download import SPARE_BYTES
from bot.ledger.ledger import Cycle, State
from bot.service.live import read_progress
from bot.service.page.views import Desk


@dataclass(frozen=True)
class Health:
    """Whether the bot can work.

    faults: what is wrong, a line each; empty when all is well. scheduler: whether the schedule runs; None where this
    process has none. cycle_age: seconds since the newest cycle ended, None before the first. cycles: number of cycles
    by state.
    """

    faults: tuple[str, ...]
    scheduler: bool | None
    running: bool
    cycle_age: float | None
    free_bytes: int
    cycles: dict[str, int]

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong."""
        return not self.faults

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return {"well": self.is_well} | asdict(self)


def check_health(desk: Desk, scheduler_runs: Callable[[], bool] | None, now: datetime) -> Health:
    """Check the schedule, the ledger and the disk; nothing is written.

    scheduler_runs: whether the schedule of this process is alive; None where it has none.
    """
    faults = []
    scheduler = None if scheduler_runs is None else scheduler_runs()
    if scheduler is False:
        faults.append("the schedule has stopped; restart the service")
    cycles: tuple[Cycle, ...] = ()
    try:
        cycles = desk.cycles()
    except (ShoalError, OSError) as error:
        faults.append(failure_reason(error))
    existing = next(path for path in (desk.home.folder, *desk.home.folder.parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free < SPARE_BYTES:
        faults.append(f"{existing}: {free:,} bytes free; free some space (`shoal clean`)")
    ended = [cycle.finished for cycle in cycles if cycle.finished is not None]
    age = (now - max(ended)).total_seconds() if ended else None
    states = Counter(str(cycle.state) for cycle in cycles)
    return Health(tuple(faults), scheduler, read_progress(desk.home) is not None, age, free, dict(states))


def render_metrics(health: Health) -> str:
    """The health in Prometheus' text format."""
    rows = [
        ("shoal_well", "1 if nothing is wrong", int(health.is_well)),
        ("shoal_cycle_running", "1 while a cycle runs", int(health.running)),
        ("shoal_disk_free_bytes", "bytes free on the home's disk", health.free_bytes),
    ]
    if health.scheduler is not None:
        rows.append(("shoal_scheduler_running", "1 while the schedule runs", int(health.scheduler)))
    if health.cycle_age is not None:
        rows.append(("shoal_last_cycle_age_seconds", "seconds since the newest cycle ended", round(health.cycle_age)))
    lines = [
        line
        for name, text, value in rows
        for line in (f"# HELP {name} {text}", f"# TYPE {name} gauge", f"{name} {value}")
    ]
    lines += ["# HELP shoal_cycles number of cycles by state", "# TYPE shoal_cycles gauge"]
    counts = {str(state): health.cycles.get(str(state), 0) for state in State}
    lines += [f'shoal_cycles{{state="{state}"}} {count}' for state, count in counts.items()]
    return "\n".join(lines) + "\n"
