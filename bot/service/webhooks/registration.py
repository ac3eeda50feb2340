"""Sets up the webhook on the Hub, through the Hub's own client."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit, urlunsplit

from bot.errors import ShoalError
from bot.hub.answers.failures import HubForbidden, HubNotFound, HubRefused
from bot.hub.client import Hub
from bot.service.webhooks.watched import OwnerToWatch

if TYPE_CHECKING:
    from collections.abc import Callable

    from huggingface_hub import WebhookInfo

T = TypeVar("T")

DOMAINS = ("repo",)
"""What the Hub is to tell: changes of repos, not what people write there."""


class RegistrationOutcome(StrEnum):
    """What became of a registration."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"


@dataclass(frozen=True)
class WatchedByHub:
    """Somebody whose repos the Hub watches. type: "user" or "org". reason: why."""

    type: str
    name: str
    reason: str


@dataclass(frozen=True)
class Registration:
    """The webhook as it is on the Hub now, or would be after a run that is not dry.

    id: None for one that would be created. missing: owners that the Hub does not know any more. unseen: watchlists
    that also find models of owners who are not watched.
    """

    outcome: RegistrationOutcome
    dry_run: bool
    id: str | None
    url: str
    watched: tuple[WatchedByHub, ...]
    missing: tuple[str, ...]
    unseen: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class RegisteredWebhook:
    """One of the account's webhooks. url: None for one that starts a Job. watched: `type name` of each item."""

    id: str
    url: str | None
    watched: tuple[str, ...]
    domains: tuple[str, ...]
    disabled: bool

    def as_json(self) -> dict[str, object]:
        """Plain values."""
        return asdict(self)


class Registrar:
    """Changes the webhooks of the token's account on a Hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def list(self) -> tuple[RegisteredWebhook, ...]:
        """All webhooks of the account, without their secrets."""
        return tuple(_registered(one) for one in self._all())

    def find_watched(self, owners: Sequence[OwnerToWatch]) -> tuple[tuple[WatchedByHub, ...], tuple[str, ...]]:
        """(the owners as the Hub knows them, the names of those that it does not know)."""
        found, missing = [], []
        for owner in owners:
            kind = self._type_of(owner.name)
            if kind is None:
                missing.append(owner.name)
            else:
                found.append(WatchedByHub(kind, owner.name, owner.reason))
        return tuple(found), tuple(missing)

    def register(
        self, url: str, watched: Sequence[WatchedByHub], secret: str | None, *, dry_run: bool = False
    ) -> tuple[RegistrationOutcome, str | None]:
        """Create the webhook with this address, or update it where it differs; returns what was done, and its id.

        secret: None only in a dry run, before there is one.
        """
        present = next((one for one in self._all() if one.url == url), None)
        keys = {"watched": [{"type": one.type, "name": one.name} for one in watched], "domains": list(DOMAINS)}
        if present is None:
            made = None if dry_run else self._ask(self._hub.api.create_webhook, url=url, secret=secret, **keys)
            return RegistrationOutcome.CREATED, made.id if made else None
        same = _is_same(present, watched, secret)
        if same and not present.disabled:
            return RegistrationOutcome.UNCHANGED, present.id
        if not same and not dry_run:
            self._ask(self._hub.api.update_webhook, present.id, url=url, secret=secret, **keys)
        if present.disabled and not dry_run:
            self._ask(self._hub.api.enable_webhook, present.id)
        return RegistrationOutcome.UPDATED, present.id

    def remove(self, which: str) -> RegisteredWebhook:
        """Delete the webhook with this id or address; ShoalError names those that there are."""
        webhooks = self._all()
        found = next((one for one in webhooks if which in (one.id, one.url)), None)
        if found is None:
            known = ", ".join(one.url or one.id for one in webhooks) or "none"
            raise ShoalError(f"{which}: is no webhook of this account on {self._hub.endpoint}; there are: {known}")
        self._ask(self._hub.api.delete_webhook, found.id)
        return _registered(found)

    def _all(self) -> Sequence[WebhookInfo]:
        return self._ask(self._hub.api.list_webhooks)

    def _type_of(self, owner: str) -> str | None:
        api = self._hub.api
        for kind, look_up in (("user", api.get_user_overview), ("org", api.get_organization_overview)):
            try:
                self._hub.call(look_up, owner)
            except HubNotFound:
                continue
            return kind
        return None

    def _ask(self, function: Callable[..., T], *arguments: object, **options: Any) -> T:
        try:
            return self._hub.call(function, *arguments, **options)
        except HubForbidden as error:
            raise HubForbidden(
                f"{error}: webhooks need a token with the role write, or a fine-grained one with the permissions "
                "user.webhooks.read and user.webhooks.write"
            ) from error
        except HubRefused as error:
            watched = options.get("watched")
            if not isinstance(watched, list):
                raise
            raise HubRefused(
                f"{error}; it was to watch {len(watched)} owners, and fewer watchlists have fewer"
            ) from error


def check_url(url: str, endpoint: str) -> str:
    """The address that the Hub is to call: `/webhook` is added where it has no path.

    Raises:
        ShoalError: it is not https, holds a secret, or the Hub could not reach it.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        _ = parts.port
    except ValueError:
        raise ShoalError("URL: is not an address; write one such as https://shoal.example.org/webhook") from None
    if parts.username is not None or parts.query or parts.fragment:
        raise ShoalError(
            f"URL: got an address of {host or 'no host'} with a name, a query or a fragment: leave these out; the "
            "secret goes into a header"
        )
    local = _is_of_this_machine(host)
    if not host or parts.scheme not in ("https", "http") or (parts.scheme == "http" and not local):
        raise ShoalError(f"URL: got {url!r}: the secret needs https; write https://HOST/webhook, or put a proxy before")
    if local and not _is_of_this_machine(urlsplit(endpoint).hostname or ""):
        raise ShoalError(
            f"URL: got {url!r}: {endpoint} cannot reach this machine's loopback; give the address of a proxy or tunnel"
        )
    return urlunsplit(parts._replace(path="/webhook")) if parts.path in ("", "/") else url


def _is_same(webhook: WebhookInfo, watched: Sequence[WatchedByHub], secret: str | None) -> bool:
    """Whether a webhook is as it should be. A secret that the Hub does not tell is not known to be the right one."""
    items = {(one.type, one.name) for one in webhook.watched}
    told = webhook.secret is not None and webhook.secret == secret
    return told and items == {(one.type, one.name) for one in watched} and tuple(webhook.domains) == DOMAINS


def _is_of_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _registered(webhook: WebhookInfo) -> RegisteredWebhook:
    watched = tuple(f"{one.type} {one.name}" for one in webhook.watched)
    return RegisteredWebhook(webhook.id, webhook.url, watched, tuple(webhook.domains), webhook.disabled)
