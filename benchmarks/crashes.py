"""Whether kill -9 of `shoal serve` at any moment loses a decision or publishes anything twice.

    python -m benchmarks crashes [--moments 20] [--seed 0]

A cycle leaves two releases that wait for review. Then, again and again from a copy of that home and Hub: somebody
publishes one release and rejects the other on the page, and the service with all its processes is killed at a random
moment between the first request and a while after the last decision is carried out. It is started again, and what the
person did not get an answer to is asked for again, as a person would. In the end the ledger and the Hub's history are
counted: one commit and one decision for the published release, no commit and one decision for the rejected one.
Anything else ends the benchmark with an error.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
from sqlalchemy import select

from benchmarks.record import Figures
from benchmarks.served_bot import (
    NAME,
    NAMESPACE,
    ServedBot,
    read_state,
    serve_bot,
    wait_until,
    write_watchlist,
    zoo_hub,
)
from bot.demo import TOKEN
from bot.home import Home
from bot.hub.answers.failures import HubNotFound
from bot.hub.client import Hub
from bot.ledger.ledger import Ledger, State
from bot.ledger.tables import DecisionRow

CYCLE = f"{NAME}-1"
CANDIDATES = 60
AFTER = 1.0
"""Seconds after the last decision in which the service may still be killed."""


@dataclass(frozen=True)
class Counted:
    """What is there in the end.

    commits: of the published release on the Hub. rejected_commits: of the rejected one. decisions: (role, verdict) of
    every decision on record, in order. state: the cycle's.
    """

    commits: int
    rejected_commits: int
    decisions: tuple[tuple[str, str], ...]
    state: State


def main() -> Figures:
    """Kill, count, and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks crashes")
    parser.add_argument("--moments", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    draw = random.Random(asked.seed)
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
        prepared = Path(folder, "prepared")
        publish, reject = prepare(prepared)
        span = measure_undisturbed(prepared, Path(folder, "undisturbed"), publish, reject)
        print(f"undisturbed: both decisions are carried out after {span:.2f} s")
        print(f"{'killed after':>14}{'answered':>10}{'commits':>9}{'decisions':>11}  what was wrong")
        rows: list[Figures] = []
        for number in range(asked.moments):
            moment = draw.uniform(0.0, span + AFTER)
            trial = Path(folder, f"trial-{number}")
            answered, counted = kill_at(moment, prepared, trial, publish, reject)
            faults = find_faults(counted, publish, reject)
            numbers = f"{answered:10}{counted.commits:9}{len(counted.decisions):11}"
            print(f"{moment:12.2f} s{numbers}  {'; '.join(faults) or '-'}", flush=True)
            rows.append({"moment_s": moment, "answered": answered, "faults": faults})
            shutil.rmtree(trial)
    wrong = sum(bool(row["faults"]) for row in rows)
    print(f"{len(rows)} kills, {wrong} with a fault")
    if wrong:
        raise SystemExit("crashes: a release was published twice, or a decision was lost")
    return {"undisturbed_s": span, "kills": rows}


def prepare(folder: Path) -> tuple[str, str]:
    """Run a cycle that leaves releases for review; returns the role to publish, and the one to reject."""
    folder.mkdir()
    write_watchlist(folder / "small.yml", CANDIDATES)
    with zoo_hub(folder / "hub") as endpoint, serve_bot(folder, endpoint) as served:
        served.finish_cycle()
    ledger = Ledger(Home(folder / "home").ledger)
    roles = [release.role for release in ledger.releases(CYCLE)]
    ledger.close()
    if len(roles) < 2:
        raise SystemExit(f"crashes: the cycle left {len(roles)} releases, two are needed")
    return roles[0], roles[1]


def measure_undisturbed(prepared: Path, folder: Path, publish: str, reject: str) -> float:
    """Seconds from the first request until both decisions are carried out."""
    shutil.copytree(prepared, folder)
    with zoo_hub(folder / "hub") as endpoint, serve_bot(folder, endpoint) as served:
        start = time.monotonic()
        ask(served, publish, reject)
        wait_until(lambda: is_settled(served.home), served.process)
        return time.monotonic() - start


def kill_at(moment: float, prepared: Path, folder: Path, publish: str, reject: str) -> tuple[int, Counted]:
    """Kill the service so many seconds after the first request, start it again, and count what is there in the end.

    Returns the number of requests that were answered before the kill as well.
    """
    shutil.copytree(prepared, folder)
    with zoo_hub(folder / "hub") as endpoint:
        with serve_bot(folder, endpoint) as served:
            threading.Timer(moment, served.kill).start()
            answered = ask(served, publish, reject)
            served.process.wait()
        with serve_bot(folder, endpoint) as served:
            if answered < 2:
                ask(served, publish, reject)
            wait_until(lambda: is_settled(served.home), served.process)
        return answered, count(Home(folder / "home"), endpoint, publish, reject)


def ask(served: ServedBot, publish: str, reject: str) -> int:
    """Ask for both decisions on the page; returns how many requests were answered before the service died.

    An answer that the release is decided on already (409) is one, too.
    """
    answered, page = 0, f"/cycles/{CYCLE}/releases"
    with suppress(httpx.TransportError):
        for path, fields in ((f"{publish}/publish", {}), (f"{reject}/reject", {"note": "answers too briefly"})):
            status = served.send(f"{page}/{path}", **fields)
            if status not in (303, 409):
                raise RuntimeError(f"{path}: got {status}")
            answered += 1
    return answered


def count(home: Home, endpoint: str, publish: str, reject: str) -> Counted:
    """Count commits on the Hub and decisions in the ledger."""
    hub, ledger = Hub(endpoint, TOKEN), Ledger(home.ledger)
    repos = {release.role: release.repo for release in ledger.releases(CYCLE)}
    with ledger.transaction() as session:
        rows = session.scalars(select(DecisionRow).where(DecisionRow.cycle == CYCLE).order_by(DecisionRow.id))
        decisions = tuple((row.role, row.verdict) for row in rows)
    state = ledger.cycle(CYCLE).state
    ledger.close()
    assert repos[publish].startswith(NAMESPACE)
    return Counted(count_releases(hub, repos[publish]), count_releases(hub, repos[reject]), decisions, state)


def count_releases(hub: Hub, repo: str) -> int:
    """Number of commits of a release in a repo's history; 0 if there is no such repo."""
    try:
        return sum(one.title.startswith("Release ") for one in hub.call(hub.api.list_repo_commits, repo))
    except HubNotFound:
        return 0


def find_faults(counted: Counted, publish: str, reject: str) -> list[str]:
    """What is not as it should be, in words."""
    faults = []
    if counted.commits != 1:
        faults.append(f"published {counted.commits} times")
    if counted.rejected_commits:
        faults.append("the rejected release is on the Hub")
    if sorted(counted.decisions) != sorted([(publish, "published"), (reject, "rejected")]):
        faults.append(f"decisions on record: {counted.decisions}")
    if counted.state is not State.PUBLISHED:
        faults.append(f"the cycle is {counted.state}")
    return faults


def is_settled(home: Home) -> bool:
    """Whether no release waits for a decision any more."""
    return read_state(home) in (State.PUBLISHED, State.REJECTED)


if __name__ == "__main__":
    main()
