"""Routes on the caller's own account, and the check of cards before a commit."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import JsonValue

from localhub.protocol.access import BodyText, CurrentCaller
from localhub.protocol.json_views import JsonObject, make_object_id
from localhub.store.accounts import COLLECTION_WRITE, FINE_GRAINED, REPO_READ, REPO_WRITE, Identity
from localhub.store.cards import validate_card

router = APIRouter(prefix="/api")


@router.get("/whoami-v2")
def whoami(caller: CurrentCaller) -> JsonObject:
    """The caller, their organisations and their token's role; a 401 without a token."""
    identity = caller.require_identity()
    orgs: list[JsonValue] = [
        {"type": "org", **_describe_name(org, org), "roleInOrg": role, "isEnterprise": False}
        for org, role in identity.orgs.items()
    ]
    return {
        "type": "user",
        **_describe_name(identity.name, identity.full_name),
        "isPro": False,
        "canPay": False,
        "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": _describe_token(identity)},
    }


def _describe_token(identity: Identity) -> JsonObject:
    """The token; an admin's, who may write to namespaces that no list could name, has its permissions globally."""
    if identity.role != FINE_GRAINED and not identity.admin:
        return {"displayName": identity.token_name, "role": identity.role}
    scoped: list[JsonValue] = [
        {
            "entity": {"_id": make_object_id(scope.name), "type": scope.type, "name": scope.name},
            "permissions": list(scope.permissions),
        }
        for scope in identity.scopes
    ]
    everywhere: list[JsonValue] = [REPO_READ, REPO_WRITE, COLLECTION_WRITE] if identity.admin else []
    return {
        "displayName": identity.token_name,
        "role": FINE_GRAINED,
        "fineGrained": {"canReadGatedRepos": identity.admin, "global": everywhere, "scoped": scoped},
    }


def _describe_name(name: str, full_name: str) -> dict[str, str]:
    return {"id": make_object_id(name), "name": name, "fullname": full_name}


@router.post("/validate-yaml")
def validate_yaml(content: BodyText) -> JSONResponse:
    """The errors and warnings of a card; a 400 if it must not be committed."""
    findings = validate_card(content)
    answer: JsonObject = {
        "errors": [{"message": text} for text in findings.errors],
        "warnings": [{"message": text} for text in findings.warnings],
    }
    if findings.errors:
        answer["error"] = "Invalid metadata in README.md: " + "; ".join(findings.errors)
    return JSONResponse(answer, status_code=400 if findings.errors else 200)
