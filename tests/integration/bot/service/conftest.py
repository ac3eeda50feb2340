"""The command line in the test's own process."""

from fixtures.shoal_here import shoal

__all__ = ["shoal"]
