"""Routes on a Space's settings: its hardware, variables and secrets."""

from __future__ import annotations

from dataclasses import replace

from fastapi import APIRouter
from pydantic import BaseModel

from localhub.protocol.access import BodyText
from localhub.protocol.json_views import JsonObject
from localhub.shelves.access import WritableShelved
from localhub.shelves.space_settings import SpaceSettings, change_space_settings, describe_runtime, read_space_settings

router = APIRouter(prefix="/api/{kind:space}/{owner}/{name}")


class HardwareRequest(BaseModel):
    """The hardware that a Space is to run on, and after how many idle seconds it sleeps."""

    flavor: str
    sleepTimeSeconds: int | None = None  # noqa: N815  as sent


@router.get("/runtime")
def get_runtime(space: WritableShelved) -> JsonObject:
    """The state and the hardware of a Space."""
    return describe_runtime(read_space_settings(space))


@router.post("/hardware")
def request_hardware(space: WritableShelved, request: HardwareRequest) -> JsonObject:
    """Choose the hardware of a Space."""

    def change(old: SpaceSettings) -> SpaceSettings:
        return replace(old, hardware=request.flavor, sleep_seconds=request.sleepTimeSeconds)

    return describe_runtime(change_space_settings(space, change))


@router.get("/variables")
def list_variables(space: WritableShelved) -> JsonObject:
    """A Space's variables with their values."""
    return {name: {"key": name, "value": value} for name, value in read_space_settings(space).variables.items()}


@router.post("/variables")
def set_variable(space: WritableShelved, key: BodyText, value: BodyText) -> JsonObject:
    """Set a variable of a Space."""
    change_space_settings(space, lambda old: old.with_variable(key, value))
    return list_variables(space)


@router.get("/secrets")
def list_secrets(space: WritableShelved) -> JsonObject:
    """The names of a Space's secrets; their values are never shown."""
    return {name: {"key": name} for name in read_space_settings(space).secrets}


@router.post("/secrets")
def set_secret(space: WritableShelved, key: BodyText, value: BodyText) -> JsonObject:
    """Set a secret of a Space."""
    change_space_settings(space, lambda old: old.with_secret(key, value))
    return {}
