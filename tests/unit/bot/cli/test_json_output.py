"""What `--json` prints, against docs/json.md."""

from __future__ import annotations

import dataclasses
import enum
import inspect
import json
import types
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from bot.cli.main import app
from bot.cli.output import JSON_VERSION, show_json
from bot.cli.watchlists import check_file
from bot.cycle.dry_run import RunPlan
from bot.cycle.history import CyclePage, CycleSummary
from bot.cycle.past.clean import Cleaning
from bot.cycle.past.export import Exported
from bot.cycle.past.review import CycleReview
from bot.service.facts.bot_facts import BotFacts
from bot.service.webhooks.registration import RegisteredWebhook, Registration
from bot.verify_command.verdicts import Verification
from evaluation.eval_set import ExamplePrompt
from fixtures.folders import ROOT
from fixtures.json_keys import documented_keys, keys_of


def example_of(kind: Any) -> Any:
    """A value of a type, with something in every field."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return example_of(arguments[0])
    if origin is tuple:
        return tuple(example_of(argument) for argument in arguments if argument is not ...)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"a": example_of(arguments[1])}
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        values = {field.name: example_of(hints[field.name]) for field in dataclasses.fields(kind)}
        return kind(**values)  # type: ignore[operator]
    if issubclass(kind, enum.Enum):
        return next(iter(kind))
    return {int: 1, float: 0.5, str: "x", bool: True, datetime: datetime(2026, 1, 1), Path: Path("x")}[kind]


@pytest.mark.parametrize(
    ("command", "value"),
    [
        ("check", {"watchlists": [check_file(ROOT / "watchlists" / "demo.yml").as_json()]}),
        ("plan", example_of(RunPlan).as_json()),
        ("prompt", {"watchlist": "x", "prompts": [dataclasses.asdict(example_of(ExamplePrompt))]}),
        ("verify", example_of(Verification).as_json()),
        ("clean", example_of(Cleaning).as_json()),
        ("export", example_of(Exported).as_json()),
        ("status", example_of(BotFacts).as_json() | {"cycles": [example_of(CycleSummary).as_json()]}),
        ("webhook register", example_of(Registration).as_json()),
        ("webhook list", {"webhooks": [example_of(RegisteredWebhook).as_json()]}),
        ("webhook remove", example_of(RegisteredWebhook).as_json()),
        *((command, {"reviews": [example_of(CycleReview).as_json()]}) for command in ("review", "publish", "reject")),
        *((command, example_of(CyclePage).as_json()) for command in ("run", "show", "demo")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_key_is_documented_and_every_documented_key_is_there(command: str, value: dict[str, Any]) -> None:
    found = list(keys_of(value))
    listed = [key for key in documented_keys()[command] if f"{key}." not in " ".join(found)]  # groups that may be null
    assert sorted(found) == sorted(listed), f"bring the section of `shoal {command}` in docs/json.md up to date"


def test_every_command_that_prints_json_is_documented() -> None:
    groups = [group.typer_instance for group in app.registered_groups]
    commands = [("", app), *((f"{group.info.name} ", group) for group in groups if group is not None)]
    printing = {
        f"{prefix}{command.name}"
        for prefix, group in commands
        for command in group.registered_commands
        if command.callback is not None and "as_json" in inspect.signature(command.callback).parameters
    }
    assert printing == set(documented_keys())


def test_the_version_of_the_format_comes_first(capsys: pytest.CaptureFixture[str]) -> None:
    show_json({"key": "ü"})
    printed = capsys.readouterr().out
    assert list(json.loads(printed).items()) == [("shoal_json", JSON_VERSION), ("key", "ü")]
    page = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
    assert f"`shoal_json`, is the version of the format: `{JSON_VERSION}`" in page


def test_a_file_that_is_refused_has_its_faults(tmp_path: Path) -> None:
    (tmp_path / "w.yml").write_text("name: x\nskills: []\n")
    checked = check_file(tmp_path / "w.yml").as_json()
    assert (checked["valid"], checked["watchlist"], checked["digest"]) == (False, None, None)
    assert checked["faults"] == [f"{tmp_path}/w.yml:2: skills: got []: has too few items; give at least 1"]
