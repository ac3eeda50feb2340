"""What tests of whole cycles start from."""

from fixtures.stocked import home, server, stocked

__all__ = ["home", "server", "stocked"]
