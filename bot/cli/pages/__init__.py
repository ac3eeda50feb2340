"""The pages that commands print."""

from bot.cli.pages.cycle import layout_cycle, layout_plan
from bot.cli.pages.status import layout_status

__all__ = ["layout_cycle", "layout_plan", "layout_status"]
