"""Means with the half-widths of their intervals, as cells have them."""

from __future__ import annotations

from collections.abc import Mapping


def points(value: Mapping[str, float], sign: str = "") -> str:
    """A mean in points. sign: "+" to write it before a gain."""
    return f"{value['mean']:{sign}.1f} ± {value['half_width']:.1f}"


def volume(value: Mapping[str, float], sign: str = "") -> str:
    """A mean hypervolume."""
    return f"{value['mean']:{sign}.3f} ± {value['half_width']:.3f}"
