"""The watchlist: what a person asks of the bot, read from a file and checked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError, model_validator
from pydantic_core import PydanticCustomError

from bot.errors import ShoalError
from bot.watchlist.contradictions import contradictions
from bot.watchlist.cron import standard_trigger
from bot.watchlist.faults import explain
from bot.watchlist.sections import ScheduleSection, WatchlistFields
from bot.watchlist.yaml_file import read_yaml

if TYPE_CHECKING:
    from apscheduler.triggers.base import BaseTrigger


class Watchlist(WatchlistFields):
    """A person's wish, whole, its keys in agreement with each other."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Watchlist:
        found = list(contradictions(self))
        if found:
            text = "; ".join(f"{'.'.join(map(str, path))} {why}" for path, why in found)
            raise PydanticCustomError("contradictions", "{text}", {"found": found, "text": text})
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of all that decides scores and recipes.

        Left out: where and when (publish, schedule), this machine (workers), and the folders of tasks, whose
        content has digests of its own.
        """
        values = self.model_dump(mode="json", exclude={"publish", "schedule", "workers", "task_folders"})
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()


def cron_trigger(schedule: ScheduleSection) -> BaseTrigger:
    """When the watchlist is due, for APScheduler; days mean what crontab(5) says."""
    return standard_trigger(schedule.cron, schedule.timezone)


def load(path: Path) -> Watchlist:
    """Read and check a watchlist; its task folders become absolute.

    Raises:
        ShoalError: a line for each fault: `FILE:LINE: key: got VALUE: what is wrong; what to do`.
    """
    file = read_yaml(path)
    try:
        watchlist = Watchlist.model_validate(file.data)
    except ValidationError as error:
        raise ShoalError(explain(error, file, Watchlist)) from None
    folders = [(path.parent / folder).resolve() for folder in watchlist.task_folders]
    missing = [
        f"{file.name}:{file.line(('task_folders', index))}: task_folders[{index}]: "
        f"got {watchlist.task_folders[index]!r}: there is no folder {folder}; correct the path"
        for index, folder in enumerate(folders)
        if not folder.is_dir()
    ]
    if missing:
        raise ShoalError("\n".join(missing))
    return watchlist.model_copy(update={"task_folders": tuple(map(str, folders))})


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a watchlist, for editors."""
    schema = Watchlist.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "shoal watchlist"}
