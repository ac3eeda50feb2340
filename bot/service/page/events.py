"""The stream of events that keeps an open page up to date: what the running cycle does, and that its front grew."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from bot.service.facts.bot_facts import RunningFacts

POLL_SECONDS, BEAT_SECONDS = 1.0, 15.0
"""Seconds between looks at the progress file, and between comments that keep an idle connection open."""

MOST_STREAMS, MOST_OF_A_CLIENT = 64, 12
"""Streams at once, of all and of one client: a browser with very many tabs must not use up the server's connections."""

_RETRY = "retry: 5000\n\n"


class Streams:
    """The streams that are open, at most so many, and at most so many of one client."""

    def __init__(self, most: int = MOST_STREAMS, most_of_a_client: int = MOST_OF_A_CLIENT) -> None:
        self._most = most
        self._most_of_a_client = most_of_a_client
        self._open: Counter[str] = Counter()
        self._counting = threading.Lock()
        self.are_ending = False

    def take(self, client: str) -> str | None:
        """Take a place; why there is none, or None if there was one."""
        with self._counting:
            if self._open[client] >= self._most_of_a_client:
                return "too many of your pages are open; close some"
            if self._open.total() >= self._most:
                return "too many people look at this page; try again later"
            self._open[client] += 1
        return None

    def give_back(self, client: str) -> None:
        """Give a place back."""
        with self._counting:
            self._open[client] -= 1
            self._open += Counter()  # forgets clients without a stream

    def end(self) -> None:
        """Let each stream end at its next look: the server stops."""
        self.are_ending = True


class EventStream(StreamingResponse):
    """An answer with server-sent events, which gives its place in `streams` back when it ends.

    Not the iterator does that: its reader may leave before it begins.
    """

    def __init__(self, events: AsyncIterator[str], streams: Streams, client: str, headers: Mapping[str, str]) -> None:
        """streams: the caller has taken a place there for the client."""
        super().__init__(events, media_type="text/event-stream", headers={**headers, "X-Accel-Buffering": "no"})
        self._streams = streams
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events until their reader leaves."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._streams.give_back(self._client)


async def stream_progress(
    read: Callable[[], RunningFacts | None], goes_on: Callable[[], bool], poll: float = POLL_SECONDS
) -> AsyncIterator[str]:
    """Server-sent events: a whole snapshot at once and after each change, `null` while no cycle runs.

    goes_on: asked before each look whether its reader may still have it.
    """
    yield _RETRY
    last, quiet = None, 0.0
    while goes_on():
        running = await asyncio.to_thread(read)
        data = json.dumps(None if running is None else running.as_json(), ensure_ascii=False)
        if data != last:
            last, quiet = data, 0.0
            yield f"data: {data}\n\n"
        elif quiet >= BEAT_SECONDS:
            quiet = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(poll)
        quiet += poll
