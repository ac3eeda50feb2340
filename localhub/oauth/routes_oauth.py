"""The routes of the login at other sites: discovery, consent, tokens, and who a person is.

Whoever has a browser on this machine chooses which user to be, for the local Hub has no passwords.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response

from localhub.errors import HubError, bad_request
from localhub.oauth.apps import OAuthAppRecord, OAuthApps
from localhub.oauth.grants import TOKEN_SECONDS, Grant, Grants, sign_claims
from localhub.pages.routes_pages import render_hub_page
from localhub.protocol.json_views import JsonObject, make_object_id
from localhub.store.accounts import Accounts

router = APIRouter()

OrgIds = Annotated[Sequence[str], Query(alias="orgIds")]

SCOPES = ("openid", "profile")
"""The scopes that are served; others are left out of what is granted."""


@router.get("/.well-known/openid-configuration")
def describe_provider(request: Request) -> JsonObject:
    """OpenID Connect Discovery 1.0, section 3."""
    place = str(request.base_url).rstrip("/")
    return {
        "issuer": place,
        "authorization_endpoint": f"{place}/oauth/authorize",
        "token_endpoint": f"{place}/oauth/token",
        "userinfo_endpoint": f"{place}/oauth/userinfo",
        "scopes_supported": list(SCOPES),
        "response_types_supported": ["code"],
        "grant_types_supported": ["authorization_code"],
        "code_challenge_methods_supported": ["S256"],
        "id_token_signing_alg_values_supported": ["HS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
        "subject_types_supported": ["public"],
    }


@router.get("/oauth/authorize")
def ask_for_consent(request: Request, org_ids: OrgIds = ()) -> Response:
    """The page where a person chooses an account and consents. orgIds: organisations that the app asks to see."""
    app = _check_request(request)
    redirect_uri = request.query_params["redirect_uri"]
    users = [
        (name, [(org, make_object_id(org)) for org in orgs]) for name, orgs in _accounts(request).memberships().items()
    ]
    page = render_hub_page("consent", app=app, users=users, asked=org_ids, site=urlsplit(redirect_uri).netloc)
    # The form's answer leads back to the site, which browsers count to the form's targets.
    site = "{0.scheme}://{0.netloc}".format(urlsplit(redirect_uri))
    page.headers["Content-Security-Policy"] += f" {site}"
    return page


@router.post("/oauth/authorize")
async def take_consent(request: Request) -> Response:
    """Send the person back to the site, with a code or with their refusal."""
    _check_request(request)
    query, form = request.query_params, parse_qs((await request.body()).decode(errors="replace"))
    answer = {"state": query.get("state", "")}
    user = form.get("user", [""])[0]
    if form.get("decision") != ["allow"]:
        answer["error"] = "access_denied"
    elif user not in _accounts(request).memberships():
        raise bad_request(f"There is no user {user[:80]!r}")
    else:
        scope = " ".join(scope for scope in query.get("scope", "").split() if scope in SCOPES)
        answer["code"] = _grants(request).give_code(
            Grant(
                client=query["client_id"],
                redirect_uri=query["redirect_uri"],
                user=user,
                scope=scope,
                nonce=query.get("nonce", ""),
                challenge=query.get("code_challenge", ""),
                orgs=frozenset(form.get("org", [])),
            )
        )
    return RedirectResponse(f"{query['redirect_uri']}?{urlencode(answer)}", 303)


@router.post("/oauth/token")
async def give_tokens(request: Request) -> JSONResponse:
    """An access token and an ID token for a code."""
    form = {name: values[0] for name, values in parse_qs((await request.body()).decode(errors="replace")).items()}
    client, secret = _client_credentials(request, form)
    _apps(request).check_secret(client, secret)
    if form.get("grant_type") != "authorization_code":
        raise HubError(400, "Unknown grant_type", body={"error": "unsupported_grant_type"})
    token, grant = _grants(request).exchange(
        form.get("code", ""), client, form.get("redirect_uri", ""), form.get("code_verifier", "")
    )
    answer = {"access_token": token, "token_type": "bearer", "expires_in": TOKEN_SECONDS, "scope": grant.scope}
    if "openid" in grant.scope:
        now, place = int(time.time()), str(request.base_url).rstrip("/")
        claims = {"iss": place, "aud": client, "iat": now, "exp": now + TOKEN_SECONDS, "nonce": grant.nonce}
        answer["id_token"] = sign_claims(claims | {"sub": make_object_id(grant.user)}, secret)
    return JSONResponse(answer, headers={"Cache-Control": "no-store"})


@router.get("/oauth/userinfo")
def describe_user(request: Request) -> JsonObject:
    """Who a person is. The role in an organisation is told where the person let the app see that organisation."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        raise HubError(401, "Invalid credentials in Authorization header")
    grant = _grants(request).of_token(token)
    place, name = str(request.base_url).rstrip("/"), grant.user
    if "profile" not in grant.scope:
        return {"sub": make_object_id(name)}
    return {
        "sub": make_object_id(name),
        "name": name,
        "preferred_username": name,
        "profile": f"{place}/{name}",
        "picture": f"{place}/{name}/avatar",
        "isPro": False,
        "orgs": [
            {
                "sub": make_object_id(org),
                "name": org,
                "preferred_username": org,
                "picture": f"{place}/{org}/avatar",
                "isEnterprise": False,
                **({"roleInOrg": role} if make_object_id(org) in grant.orgs else {}),
            }
            for org, role in _accounts(request).memberships().get(name, {}).items()
        ],
    }


def _check_request(request: Request) -> OAuthAppRecord:
    """The app that sent a person here; a 400 for an unknown one, and for an address that is not the app's."""
    query = request.query_params
    app, redirect_uri = _apps(request).get(query.get("client_id", "")), query.get("redirect_uri", "")
    if redirect_uri not in app.redirect_uris:
        raise bad_request(f"The OAuth app {app.name} has no redirect URI {redirect_uri[:200]!r}")
    if query.get("response_type") != "code" or query.get("code_challenge_method", "S256") != "S256":
        raise bad_request("The local Hub serves response_type=code, with code_challenge_method=S256")
    return app


def _client_credentials(request: Request, form: dict[str, str]) -> tuple[str, str]:
    """(id, secret) of the app that calls (RFC 6749, section 2.3.1)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return unquote(client), unquote(secret)


def _apps(request: Request) -> OAuthApps:
    apps: OAuthApps = request.app.state.oauth_apps
    return apps


def _grants(request: Request) -> Grants:
    grants: Grants = request.app.state.grants
    return grants


def _accounts(request: Request) -> Accounts:
    accounts: Accounts = request.app.state.store.accounts
    return accounts
