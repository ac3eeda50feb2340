"""Every longer text that a person reads: model cards, reports and the local Hub's pages."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
"""The folder of the templates."""
