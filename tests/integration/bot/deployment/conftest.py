"""What tests of deployments share."""

from fixtures.stocked import server, stocked

__all__ = ["server", "stocked"]
