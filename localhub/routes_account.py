"""Who the caller is, and whether a card is good."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from localhub.access import Asking
from localhub.cards import validate
from localhub.views import object_id

router = APIRouter(prefix="/api")


class Card(BaseModel):
    """A card to be checked."""

    content: str
    repoType: str = "model"  # noqa: N815  the protocol's name


@router.get("/whoami-v2")
def whoami(caller: Asking) -> dict[str, Any]:
    """The caller, their organisations and their token's role; a 401 without a token."""
    identity = caller.known()
    orgs = [
        {
            "type": "org",
            "id": object_id(name),
            "name": name,
            "fullname": name,
            "roleInOrg": role,
            "isEnterprise": False,
        }
        for name, role in identity.orgs.items()
    ]
    role = "write" if identity.may_write else "read"
    return {
        "type": "user",
        "id": object_id(identity.name),
        "name": identity.name,
        "fullname": identity.full_name,
        "isPro": False,
        "canPay": False,
        "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": {"displayName": identity.token_name, "role": role}},
    }


@router.post("/validate-yaml")
def validate_yaml(card: Card) -> JSONResponse:
    """What is wrong with a card: a 400 if it must not be committed."""
    findings = validate(card.content)
    answer: dict[str, Any] = {
        "errors": [{"message": text} for text in findings.errors],
        "warnings": [{"message": text} for text in findings.warnings],
    }
    if findings.errors:
        answer["error"] = "Invalid metadata in README.md: " + "; ".join(findings.errors)
    return JSONResponse(answer, status_code=400 if findings.errors else 200)
