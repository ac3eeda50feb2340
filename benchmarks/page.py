"""What the page weighs, and what two open tabs cost a search.

    python -m benchmarks page [--candidates 400] [--rounds 3]

A cycle of the zoo is run by `shoal serve --page` in turn without a page open and with two tabs (clients that read the
stream and fetch the growing front whenever it grew, as the page's script does). The processor time of the service's
threads other than the one that runs the cycle is what the page costs; the cycle's own is that of all its processes. Of
the last cycle, a Chromium loads each page: bytes and requests of the first load, and what axe-core objects to, in light
and dark and on a telephone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import httpx
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Response, sync_playwright

from benchmarks.record import Figures
from benchmarks.served_bot import NAME, ServedBot, serve_bot, wait_until, write_watchlist, zoo_hub
from bot.ledger.ledger import Ledger
from bot.search.results import SearchSummary

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CYCLE, TABS = f"{NAME}-1", 2
LOOKS = {
    "light": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    "telephone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
}


def main() -> Figures:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks page")
    parser.add_argument("--candidates", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("page: needs a Chromium: apt-get install chromium")
    cycles: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="shoal-") as folder, zoo_hub(Path(folder, "hub")) as endpoint:
        for number in range(asked.rounds):
            for tabs in (0, TABS) if number % 2 == 0 else (TABS, 0):
                place = Path(folder, f"{number}-{tabs}")
                place.mkdir()
                write_watchlist(place / "small.yml", asked.candidates)
                with serve_bot(place, endpoint) as served:
                    cycles.append({"tabs": tabs, **measure_cycle(served, tabs)})
                    print(cycles[-1])
                    pages = measure_pages(served) if (number, tabs) == (asked.rounds - 1, cycles[-1]["tabs"]) else []
    figures = {"cycles": cycles, **summarise(cycles), "pages": pages}
    print({key: value for key, value in figures.items() if key not in ("cycles", "pages")})
    for page in pages:
        print(page)
    return figures


def summarise(cycles: list[dict[str, float]]) -> dict[str, float]:
    """The page's share of a cycle's processor time with two tabs open, and how much longer the search took."""

    def middle(key: str, tabs: int) -> float:
        return median(cycle[key] for cycle in cycles if cycle["tabs"] == tabs)

    more = middle("page_cpu_s", TABS) - middle("page_cpu_s", 0)
    return {
        "page_cpu_s": more,
        "share_of_cpu": more / middle("cycle_cpu_s", TABS),
        "page_cpu_per_second": more / middle("seconds", TABS),
        "search_took_longer_by": middle("search_s", TABS) / middle("search_s", 0) - 1,
    }


def measure_cycle(served: ServedBot, tabs: int) -> dict[str, float]:
    """A cycle with so many tabs open.

    cycle_cpu_s: processor seconds of the service and its workers. page_cpu_s: those of the service's threads other than
    its main one, which runs the cycle. search_s: wall seconds of scoring. seconds: of the whole cycle.
    """
    spent = ProcessorTime(served.process.pid)
    with open_tabs(served, tabs):
        before = spent.others()
        start = spent.look()
        served.run_now()
        wait_until(lambda: (spent.look(), _is_over(served))[1], served.process, 0.2)
        page, whole = spent.others() - before, spent.look() - start
    ledger = Ledger(served.home.ledger)
    search, cycle = ledger.kept(CYCLE, "search", SearchSummary), ledger.cycle(CYCLE)
    ledger.close()
    if search is None or cycle.finished is None:
        raise SystemExit(f"page: the cycle ended as {cycle.state}: {cycle.note}")
    seconds = (cycle.finished - cycle.started).total_seconds()
    return {"page_cpu_s": page, "cycle_cpu_s": whole, "search_s": search.seconds, "seconds": seconds}


def _is_over(served: ServedBot) -> bool:
    if not served.home.ledger.exists():
        return False
    ledger = Ledger(served.home.ledger)
    over = any(cycle.finished is not None for cycle in ledger.cycles())
    ledger.close()
    return over


class ProcessorTime:
    """The processor time of a process, its threads and its descendants, as Linux counts them."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._seen: dict[int, float] = {}

    def others(self) -> float:
        """Seconds of the process's threads other than the main one, those that ended included."""
        whole, main = _ticks(f"/proc/{self._pid}/stat"), _ticks(f"/proc/{self._pid}/task/{self._pid}/stat")
        return (whole - main) / os.sysconf("SC_CLK_TCK")

    def look(self) -> float:
        """Seconds of the process and all its descendants so far; of those that ended, as of the last look."""
        for pid in _family(self._pid):
            with suppress(OSError):
                self._seen[pid] = _ticks(f"/proc/{pid}/stat") / os.sysconf("SC_CLK_TCK")
        return sum(self._seen.values())


def _family(pid: int) -> Iterator[int]:
    yield pid
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            for child in path.read_text().split():
                yield from _family(int(child))


def _ticks(path: str) -> int:
    fields = Path(path).read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])  # utime and stime


@contextmanager
def open_tabs(served: ServedBot, number: int) -> Iterator[None]:
    """So many clients that follow the page as its script does, while the block runs."""
    closed = threading.Event()
    tabs = [threading.Thread(target=_follow, args=(served.address, closed), daemon=True) for _ in range(number)]
    for tab in tabs:
        tab.start()
    try:
        yield
    finally:
        closed.set()


def _follow(address: str, closed: threading.Event) -> None:
    generation = 0
    with suppress(httpx.TransportError), httpx.Client(base_url=address, timeout=60) as client:
        client.get("/")
        with client.stream("GET", "/events") as events, httpx.Client(base_url=address, timeout=60) as other:
            for line in events.iter_lines():
                if closed.is_set():
                    return
                running = json.loads(line.removeprefix("data: ")) if line.startswith("data: ") else None
                if running and running["generation"] != generation:
                    generation = running["generation"]
                    other.get("/running/front")


def measure_pages(served: ServedBot) -> list[Figures]:
    """The first load of each page, and what axe-core objects to, of the cycle that is there."""
    ledger = Ledger(served.home.ledger)
    release, (member, _) = ledger.releases(CYCLE)[0], ledger.front(CYCLE)[-1]
    ledger.close()
    paths = {
        "overview": "/",
        "cycle": f"/cycles/{CYCLE}?member={member}",
        "front member's card": f"/cycles/{CYCLE}/front/{member}",
        "release": f"/cycles/{CYCLE}/releases/{release.role}",
    }
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        rows = [{"page": name, **measure_page(browser, served.address + path)} for name, path in paths.items()]
        browser.close()
    return rows


def measure_page(browser: Browser, address: str) -> dict[str, object]:
    """Requests and bytes of a first load, and the number of violations in all looks."""
    violations, overflowing, answers = 0, [], []
    for look, options in LOOKS.items():
        with browser.new_context(**options) as context:  # type: ignore[arg-type]  # a mapping of its options
            page = context.new_page()
            seen: list[Response] = []
            page.on("response", lambda answer, seen=seen: seen.append(answer))
            page.goto(address)
            answers = [one for one in seen if not one.url.endswith("/events")]
            violations += len(Axe().run(page).response["violations"])
            if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                overflowing.append(look)
            weight = sum(len(one.body()) for one in answers)
    return {"requests": len(answers), "bytes": weight, "axe_violations": violations, "overflowing": overflowing}


if __name__ == "__main__":
    main()
