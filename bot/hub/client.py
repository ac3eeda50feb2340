"""The Hub's client: one HfApi object, with retries and one-line errors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from bot.errors import ShoalError

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

TRIES = 5
FIRST_WAIT = 1.0
LONGEST_WAIT = 60.0
"""Seconds between tries. A Hub that asks for more (Retry-After) gets it, up to LONGEST_ORDERED."""
LONGEST_ORDERED = 330.0
"""Seconds: the real Hub counts requests in windows of five minutes."""

_TRANSIENT = frozenset({408, 429, 500, 502, 503, 504})


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


def waiting_time(attempt: int, ordered: float | None) -> float:
    """Seconds before the next try: what the Hub ordered, else 1, 2, 4… (attempt counts from 0)."""
    if ordered is not None:
        return min(max(ordered, 0.0), LONGEST_ORDERED)
    return min(FIRST_WAIT * 2.0**attempt, LONGEST_WAIT)


class Hub:
    """An endpoint and a token.

    `api` is the client; what is called on it goes through `call`.
    """

    def __init__(
        self,
        endpoint: str | None = None,
        token: str | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """endpoint, token: None leaves them to the client (HF_ENDPOINT, HF_TOKEN or the saved login)."""
        from huggingface_hub import HfApi

        self.api: HfApi = HfApi(endpoint=endpoint, token=token, library_name="shoal")
        self._sleep = sleep
        self._token = token
        self._me: dict[str, Any] | None = None

    @property
    def endpoint(self) -> str:
        """The Hub's address."""
        return str(self.api.endpoint)

    def call(self, function: Callable[..., T], *arguments: object, tries: int = TRIES, **options: object) -> T:
        """Call `function(*arguments, **options)`, and again after a pause while the Hub is busy or out of reach.

        tries: largest number of calls. The client retries downloads itself, so they need only two.

        Raises:
            HubUnavailable, HubNotFound, HubForbidden, HubGated, HubRefused: one line with the remedy.
            HfHubHTTPError: only for status 412, which the caller has to handle: it gave the parent commit.
        """
        for attempt in range(tries):
            try:
                return function(*arguments, **options)
            except Exception as error:
                trouble = _transient(error)
                if trouble is None:
                    subject = arguments[0] if arguments and isinstance(arguments[0], str) else self.endpoint
                    hub_error = self._one_line_error(error, subject)
                    if hub_error is None:
                        raise
                    raise hub_error from error
                if attempt == tries - 1:
                    raise HubUnavailable(f"{self.endpoint}: {trouble}; try again later") from error
                self._sleep(waiting_time(attempt, _ordered_wait(error)))
        raise ValueError(f"tries: got {tries}: write at least 1")

    def whoami(self) -> dict[str, Any]:
        """The Hub's account of the token's owner, requested once: the Hub limits these requests strictly."""
        if self._me is None:
            from huggingface_hub.errors import LocalTokenNotFoundError

            try:
                self._me = dict(self.call(self.api.whoami))
            except LocalTokenNotFoundError as error:
                raise HubForbidden(f"{self.endpoint}: no token; set HF_TOKEN to one with write access") from error
        return self._me

    def check_can_write(self, namespace: str) -> None:
        """Raise HubForbidden, which lists the usable namespaces, unless the token may write to `namespace`."""
        me = self.whoami()
        token = me.get("auth", {}).get("accessToken", {})
        orgs = [org for org in me.get("orgs", []) if org.get("roleInOrg") in (None, "admin", "write", "contributor")]
        mine = [str(me.get("name")), *(str(org.get("name")) for org in orgs)]
        if namespace not in mine:
            raise HubForbidden(
                f"publish.namespace: got {namespace!r}: the token belongs to {me.get('name')}, "
                f"which may write to {', '.join(mine)}; choose one of these or another token"
            )
        if token.get("role") == "read":
            raise HubForbidden(f"publish.namespace: got {namespace!r}: the token may only read; use one that writes")

    def download(
        self, repo: str, sha: str, path: str, folder: Path, on_bytes: Callable[[int], None] = lambda _: None
    ) -> Path:
        """Fetch one file at a commit to `folder`/`path`; files that an earlier try completed are not fetched again.

        on_bytes: called with the number of bytes that arrived; negative where the client starts a file again.
        """
        bar = _reporting_bar(on_bytes)
        where = self.call(self.api.hf_hub_download, repo, path, revision=sha, local_dir=folder, tqdm_class=bar, tries=2)
        return Path(str(where))

    def read(self, repo: str, sha: str, path: str) -> bytes:
        """Read a small file of a repo at a commit; nothing stays on the disk."""
        with tempfile.TemporaryDirectory(prefix="shoal-") as folder:
            return self.download(repo, sha, path, Path(folder)).read_bytes()

    def _clean(self, text: str) -> str:
        """One line without the token."""
        line = " ".join(text.split())
        return line.replace(self._token, "<token>") if self._token else line

    def _one_line_error(self, error: Exception, subject: str) -> ShoalError | None:
        """The error as one line with the remedy; None for one that is not the Hub's, or a 412."""
        from huggingface_hub import errors

        cause = next((cause for cause in _causes(error) if _is_hub_error(cause)), None)
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return HubUnavailable(f"{self.endpoint}: HF_HUB_OFFLINE is set; unset it to reach the Hub")
        if not isinstance(cause, errors.HfHubHTTPError) or cause.response.status_code == 412:
            return None
        status = cause.response.status_code
        if isinstance(cause, errors.GatedRepoError):
            return HubGated(f"{subject}: gated; accept its terms on the Hub with the token's account")
        if isinstance(cause, errors.RevisionNotFoundError):
            return HubNotFound(f"{subject}: the Hub has no such revision; check its name")
        if isinstance(cause, errors.EntryNotFoundError):
            return HubNotFound(f"{subject}: the Hub has no such file; check its name")
        if isinstance(cause, errors.RepositoryNotFoundError) or status == 404:
            return HubNotFound(f"{subject}: not on the Hub, or private; check its name and the token")
        answer = self._clean((cause.server_message or str(cause).split("\n")[0])[:300])
        if status in (401, 403):
            return HubForbidden(f"{subject}: the Hub answers {status} ({answer}); check the token's rights")
        return HubRefused(f"{subject}: the Hub answers {status} ({answer}); correct the request or ask its owner")


def _reporting_bar(on_bytes: Callable[[int], None]) -> type:
    """A class that the client uses as a progress bar; it shows nothing and reports the bytes to `on_bytes`."""

    class Bar:
        def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
            on_bytes(initial)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int | float | None = 1) -> None:
            on_bytes(int(count or 0))

    return Bar


def _is_hub_error(error: BaseException) -> bool:
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    return isinstance(error, HfHubHTTPError | OfflineModeIsEnabled)


def _causes(error: BaseException) -> list[BaseException]:
    """The error and its causes: the client reports a lost connection as a missing local file, for example."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and len(chain) < 5:
        chain.append(current)
        current = current.__cause__
    return chain


def _transient(error: Exception) -> str | None:
    """A short description of a fault that another try may overcome; None for any other error."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    for cause in _causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return None
        if isinstance(cause, HfHubHTTPError):
            status = cause.response.status_code
            return f"the Hub answers {status}" if status in _TRANSIENT else None
        if isinstance(cause, httpx2.TimeoutException):
            return "the Hub does not answer in time"
        if isinstance(cause, httpx2.TransportError | ConnectionError):
            return "the Hub cannot be reached"
    return None


def _ordered_wait(error: Exception) -> float | None:
    """Seconds that the Hub's answer orders to wait; None where it orders nothing."""
    from huggingface_hub.errors import HfHubHTTPError

    for cause in _causes(error):
        if isinstance(cause, HfHubHTTPError):
            text = str(cause.response.headers.get("Retry-After", ""))
            return float(text) if text.isascii() and text.isdigit() else None
    return None
