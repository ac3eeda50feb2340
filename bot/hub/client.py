"""The Hub's client: one HfApi object, with retries and one-line errors."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from bot.hub.answers.failures import HubForbidden, explain_failure, waiting_time
from bot.hub.answers.permissions import check_write_access, read_account

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

Query = Mapping[str, str | int | bool | Sequence[str]]
"""The parameters of a request, by name."""

TRIES = 5
SHORT_WAIT = 10.0
"""Seconds: a longer pause is announced, and so is each further one."""


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
        say: Callable[[str], None] = lambda _: None,
    ) -> None:
        """endpoint, token: None leaves them to the client (HF_ENDPOINT, HF_TOKEN or the saved login).

        say: called with one line about each pause that is long, or not the first of a call.
        """
        from huggingface_hub import HfApi

        self.api: HfApi = HfApi(endpoint=endpoint, token=token, library_name="shoal")
        self._sleep, self._say = sleep, say
        self._token = token
        self._me: tuple[str | None, dict[str, object]] | None = None

    @property
    def endpoint(self) -> str:
        """The Hub's address."""
        return str(self.api.endpoint)

    def call(self, function: Callable[..., T], *arguments: object, tries: int = TRIES, **options: object) -> T:
        """Call `function(*arguments, **options)`, and again after a pause while the Hub is busy or out of reach.

        tries: largest number of calls. The client retries downloads itself, so they need only two.

        Raises:
            HubUnavailable, HubNotFound, HubForbidden, HubGated, HubRefused, TransferFailed: one line with the remedy.
            HfHubHTTPError: only for status 412, which the caller has to handle: it gave the parent commit.
        """
        names = tuple(one for one in arguments if isinstance(one, str))
        for attempt in range(tries):
            try:
                return function(*arguments, **options)
            except Exception as error:
                failure = explain_failure(error, self.endpoint, names)
                if failure is None:
                    raise
                text = self._on_one_line(failure.text)
                if not failure.passing or attempt == tries - 1:
                    raise failure.kind(text) from error
                self._pause(waiting_time(attempt, failure.wait), text, again=attempt > 0)
        raise ValueError(f"tries: got {tries}: write at least 1")

    def list_rows(self, path: str, query: Query, limit: int) -> list[object]:
        """The first `limit` rows of a list as the Hub sends them, from as many pages as it takes.

        The client's own lists stop at a row that they cannot read. Raises as `call`.
        """
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # as in its own guides

        headers = build_hf_headers(token=self.api.token, library_name=self.api.library_name)
        rows: list[object] = []
        address: str | None = f"{self.endpoint}{path}"
        asked: Query | None = query
        while address is not None and len(rows) < limit:
            page, address = self.call(partial(_get_page, address, asked, headers))
            rows += page
            asked = None  # the next page's address has the query in it
        return rows[:limit]

    def _pause(self, seconds: float, reason: str, *, again: bool) -> None:
        # A short pause alone needs no word; several, and the client's own tries between them, look like a standstill.
        if again or seconds > SHORT_WAIT:
            self._say(f"{reason.partition(';')[0]}; trying again in {seconds:.0f} s")
        self._sleep(seconds)

    def _on_one_line(self, text: str) -> str:
        """One line without the token, which a server may have sent back."""
        from huggingface_hub import get_token

        line, token = " ".join(text.split()), self._token or get_token()
        return line.replace(token, "<token>") if token else line

    def whoami(self) -> dict[str, object]:
        """The Hub's account of the token's owner, requested once: the Hub limits these requests strictly.

        A service runs for months, and the saved login may become another one meanwhile: that is asked about anew.
        """
        from huggingface_hub import get_token
        from huggingface_hub.errors import LocalTokenNotFoundError

        token = self._token or get_token()
        if self._me is None or self._me[0] != token:
            try:
                self._me = token, dict(self.call(self.api.whoami))
            except LocalTokenNotFoundError as error:
                raise HubForbidden(f"{self.endpoint}: no token; set HF_TOKEN to one with write access") from error
        return self._me[1]

    def check_can_write(
        self,
        namespace: str,
        *,
        collections: bool = False,
        discussions: bool = False,
        repos: Collection[str] | None = None,
    ) -> tuple[str, ...]:
        """Raise HubForbidden if the token may not publish to a namespace; returns what cannot be known beforehand.

        collections: whether to a collection as well. discussions: whether by pull requests. repos: those that releases
        may go to, None while not known.
        """
        access = check_write_access(
            read_account(self.whoami()), namespace, collections=collections, discussions=discussions, repos=repos
        )
        if access.refusal is not None:
            raise HubForbidden(access.refusal)
        return access.warnings

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

    def read_range(self, repo: str, sha: str, path: str, start: int, length: int) -> bytes:
        """Read a piece of a file at a commit: its first byte and its length; fewer bytes only at the file's end."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]  # as in its own guides

        if length < 1:
            return b""
        headers = build_hf_headers(token=self.api.token, library_name=self.api.library_name)
        headers["Range"] = f"bytes={start}-{start + length - 1}"
        address = hf_hub_url(repo, path, revision=sha, endpoint=self.endpoint)
        return self.call(lambda _repo, _path: _get_piece(address, headers, length), repo, path)


def _reporting_bar(on_bytes: Callable[[int], None]) -> type:
    """A class that the client uses as a progress bar; it shows nothing and reports the bytes to `on_bytes`."""

    class Bar:
        """As much of tqdm as the client uses. A class with `update_transfer` gets the bytes of a Xet transfer twice,
        as they come over the network and as they are written, and tells them apart; the written ones count."""

        def __init__(self, *_: object, initial: int = 0, **__: object) -> None:
            on_bytes(initial)

        def __enter__(self) -> Bar:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def update(self, count: int | float | None = 1) -> None:
            on_bytes(int(count or 0))

        def update_transfer(self, count: int | float | None = 1) -> None:
            pass

        def set_postfix_str(self, *_: object, **__: object) -> None:
            pass

        set_transfer_postfix_str = set_postfix_str

    return Bar


def _get_page(address: str, query: Query | None, headers: Mapping[str, str]) -> tuple[list[object], str | None]:
    """The rows of one page of a list, and the address of the next one.

    It is asked for once: the client's own repeated tries would be silent, those of `Hub.call` are announced.
    """
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    response = get_session().get(address, params=query, headers=headers)
    hf_raise_for_status(response)
    return list(response.json()), response.links.get("next", {}).get("url")


def _get_piece(address: str, headers: Mapping[str, str], length: int) -> bytes:
    """A piece of a file. A server that sends more than the piece is not listened to: a whole file may be any size."""
    from huggingface_hub.utils import get_session, hf_raise_for_status  # type: ignore[attr-defined]

    piece = b""
    with get_session().stream("GET", address, headers=dict(headers)) as response:
        if response.is_error:
            response.read()  # for the error's text
        hf_raise_for_status(response)
        if response.status_code != 206 and int(response.headers.get("Content-Length", length + 1)) > length:
            raise ValueError("it sends whole files where a piece is asked for")
        for part in response.iter_bytes():
            piece += part
            if len(piece) > length:
                raise ValueError("it sends more than was asked for")
    return piece
