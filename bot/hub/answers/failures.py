"""What it means when a call to the Hub fails: which error a person reads, and whether another try may succeed."""

from __future__ import annotations

import re
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json import JSONDecodeError
from types import FrameType
from typing import TYPE_CHECKING

from bot.errors import ShoalError

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds between tries. A Hub that asks for more gets it, up to LONGEST_ORDERED."""
LONGEST_ORDERED = 330.0
"""Seconds: the real Hub counts requests in windows of five minutes."""

WITHOUT_XET = "or set HF_HUB_DISABLE_XET=1 to transfer without Xet"

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})
_TOKEN_ROUTE = re.compile(r"/xet-(read|write)-token/")
_XET_SILENT = re.compile(r"error sending request|timed out", re.IGNORECASE)
_XET_STATUS = re.compile(r"HTTP status (?:client|server) error \((\d{3})[^)]*\)(?:, domain: (\S+))?")


class HubUnavailable(ShoalError):  # noqa: N818 - named after the finding
    """The Hub does not answer, or not in time; it may later."""


class HubNotFound(ShoalError):  # noqa: N818
    """There is no such repo, revision or file, or the token may not see it."""


class HubForbidden(ShoalError):  # noqa: N818
    """The token is missing, wrong, or has no right to this."""


class HubGated(HubForbidden):
    """The repo's owner asks for an agreement first."""


class HubRefused(ShoalError):  # noqa: N818
    """The Hub does not accept the request."""


class TransferFailed(ShoalError):  # noqa: N818
    """The Hub answers, but the Xet storage with the content of large files does not give or take it."""


@dataclass(frozen=True)
class FailedCall:
    """A failed call.

    kind, text: the error to raise.
    passing: whether another try may succeed. wait: seconds to wait before it, where the Hub says so.
    """

    kind: type[ShoalError]
    text: str
    passing: bool = False
    wait: float | None = None


def waiting_time(attempt: int, ordered: float | None) -> float:
    """Seconds before the next try: what the Hub ordered, else 1, 2, 4… (attempt counts from 0)."""
    if ordered is not None:
        return min(max(ordered, 0.0), LONGEST_ORDERED)
    return min(FIRST_WAIT * 2.0**attempt, LONGEST_WAIT)


def ordered_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an answer orders to wait; None where it orders nothing.

    The Hub says when its window ends (`RateLimit`); other servers in between say how long to wait (`Retry-After`).
    """
    from huggingface_hub.utils import parse_ratelimit_headers  # type: ignore[attr-defined]  # not named in its __all__

    limit = parse_ratelimit_headers(headers)
    if limit is not None and limit.remaining == 0:
        return limit.reset_in_seconds + 1.0
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isascii() and text.isdigit() else None


def explain_failure(error: Exception, endpoint: str, names: Sequence[str] = ()) -> FailedCall | None:
    """The meaning of an exception of the client; None for one that is not the Hub's, or for status 412.

    names: what the call was about, such as a repo and one of its files.
    """
    import httpx2
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, OfflineModeIsEnabled

    for cause in _causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return FailedCall(HubUnavailable, f"{endpoint}: HF_HUB_OFFLINE is set; unset it to reach the Hub")
        if isinstance(cause, HfHubHTTPError):
            return _explain_answer(cause, endpoint, names)
        if isinstance(cause, httpx2.TimeoutException):
            return _passing(endpoint, "the Hub does not answer in time")
        if isinstance(cause, httpx2.LocalProtocolError | UnicodeEncodeError):
            return FailedCall(HubForbidden, f"{endpoint}: no request can carry the token; check its characters")
        if isinstance(cause, httpx2.TransportError):
            return _passing(endpoint, "the Hub cannot be reached")
        if isinstance(cause, httpx2.RequestError | httpx2.InvalidURL | JSONDecodeError | FileMetadataError):
            return FailedCall(HubRefused, f"{endpoint}: does not answer as a Hub does ({cause}); check the address")
    if _is_of_xet(error):
        return _explain_transfer(error, ": ".join(names) or endpoint)
    if _is_unreadable(error):
        what = f"{next(iter(names), endpoint)}: the Hub answers in a form that cannot be read"
        return FailedCall(HubRefused, f"{what} ({type(error).__name__}: {error}); check the address")
    return _passing(endpoint, "the Hub cannot be reached") if isinstance(error, ConnectionError) else None


def _passing(endpoint: str, trouble: str, wait: float | None = None) -> FailedCall:
    return FailedCall(HubUnavailable, f"{endpoint}: {trouble}; try again later", passing=True, wait=wait)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes: the client reports a lost connection as a missing local file, for example."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        chain.append(current)
        current = current.__cause__
    return chain


def _explain_answer(error: HfHubHTTPError, endpoint: str, names: Sequence[str]) -> FailedCall | None:
    """The meaning of an answer that is not a success."""
    from huggingface_hub import errors

    status, subject = error.response.status_code, next(iter(names), endpoint)
    if status == 412:
        return None
    if status in _TRANSIENT:
        return _passing(endpoint, f"the Hub answers {status}", ordered_wait(error.response.headers))
    if isinstance(error, errors.GatedRepoError):
        return FailedCall(HubGated, f"{subject}: gated; accept its terms on the Hub with the token's account")
    if isinstance(error, errors.RevisionNotFoundError):
        return FailedCall(HubNotFound, f"{subject}: the Hub has no such revision; check its name")
    if isinstance(error, errors.EntryNotFoundError):
        return FailedCall(HubNotFound, f"{subject}: the Hub has no such file; check its name")
    answer = (error.server_message or str(error).split("\n")[0])[:300]
    # A repo that is gone answers RepoNotFound here too: without it, only the transfer is refused.
    route = _TOKEN_ROUTE.search(str(error.response.url))
    if route and not isinstance(error, errors.RepositoryNotFoundError):
        return _refused_token(": ".join(names) or endpoint, route[1], status, f" ({answer})")
    if isinstance(error, errors.RepositoryNotFoundError) or status == 404:
        return FailedCall(HubNotFound, f"{subject}: not on the Hub, or private; check its name and the token")
    if status in (401, 403):
        return FailedCall(HubForbidden, f"{subject}: the Hub answers {status} ({answer}); check the token's rights")
    return FailedCall(
        HubRefused, f"{subject}: the Hub answers {status} ({answer}); correct the request or ask its owner"
    )


def _is_of_xet(error: Exception) -> bool:
    """Whether hf_xet raised it. Its own types say nothing: they are RuntimeError, ConnectionError and the like."""
    frame = _find_client_frame(error)
    return frame is not None and "xet" in frame.f_code.co_name


def _is_unreadable(error: Exception) -> bool:
    """Whether the client found something absent, or of another type than it expects, in an answer."""
    from huggingface_hub.errors import HFValidationError

    kinds = (KeyError, TypeError, AttributeError, ValueError)
    return (
        isinstance(error, kinds) and not isinstance(error, HFValidationError) and _find_client_frame(error) is not None
    )


def _find_client_frame(error: Exception) -> FrameType | None:
    """The frame that raised an error, if it is the client's."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame if str(frame.f_globals.get("__name__")).startswith("huggingface_hub.") else None


def _explain_transfer(error: Exception, subject: str) -> FailedCall:
    """The meaning of hf_xet's text, the only thing that it gives. It has tried again by itself."""
    text = " ".join(str(error).split())[:300]
    found = _XET_STATUS.search(text)
    status = int(found[1]) if found else None
    route = _TOKEN_ROUTE.search(found[2] or "") if found else None
    if "os error 28" in text:
        return FailedCall(ShoalError, f"{subject}: the disk is full ({text}); free some space and try again")
    silent = isinstance(error, ConnectionError | TimeoutError) or _XET_SILENT.search(text)
    if status in _TRANSIENT or (status is None and silent):
        return FailedCall(HubUnavailable, f"{subject}: the Xet storage does not answer ({text}); try again later")
    if status is not None and route is not None:
        return _refused_token(subject, route[1], status, "")
    if status is not None:
        return FailedCall(
            TransferFailed, f"{subject}: the Xet storage answers {status} ({text}); try again later, {WITHOUT_XET}"
        )
    return FailedCall(TransferFailed, f"{subject}: the Xet transfer failed ({text}); try again later, {WITHOUT_XET}")


def _refused_token(subject: str, right: str, status: int, answer: str) -> FailedCall:
    return FailedCall(
        TransferFailed,
        f"{subject}: the Hub answers {status} to the request for a Xet {right} token{answer}; "
        f"check the token's rights, {WITHOUT_XET}",
    )
