"""The route that the Hub calls. It has no login, no form and no cookie: a secret in a header lets a call in."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from bot.service.page.routes.access import client_address
from bot.service.page.routes.responses import HEADERS
from bot.service.webhooks.receiver import MOST_BODY_BYTES, CallAnswer, Receiver

WEBHOOK_PATH = "/webhook"

BODY_SECONDS = 10.0
"""Seconds that the body of a call may take."""


def webhook_route(receiver: Receiver) -> APIRouter:
    """The route that passes calls to a receiver."""
    router = APIRouter()

    @router.post(WEBHOOK_PATH)
    async def take_call(request: Request) -> JSONResponse:
        answer = await _answer(receiver, request)
        # What was not read of a refused body must not pass for the next request.
        headers = {**HEADERS, **({"Connection": "close"} if answer.status >= 400 else {})}
        return JSONResponse(answer.as_json(), answer.status, headers)

    return router


async def _answer(receiver: Receiver, request: Request) -> CallAnswer:
    heads, caller = request.headers, client_address(request)
    refused = receiver.refuse(
        heads.get("x-webhook-secret"), heads.get("content-type", ""), heads.get("content-length"), caller
    )
    if refused is not None:
        return refused
    body = b""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                body += part
                if len(body) > MOST_BODY_BYTES:
                    return receiver.refuse_body(caller)
    except (TimeoutError, ClientDisconnect):
        return receiver.refuse_slow(caller)
    # In a thread, because the ledger may be busy.
    return await asyncio.to_thread(receiver.receive, body, caller)
