"""Formats of numbers in cards and reports."""

_MINUS = "−"


def number(value: float) -> str:
    """Three decimals below ten, one above: scores are not known more precisely."""
    digits = 3 if abs(value) < 10 else 1
    rounded = round(value, digits) + 0.0  # -0.0 becomes 0.0
    return f"{rounded:.{digits}f}".replace("-", _MINUS)


def signed(value: float) -> str:
    """`number` with its sign, for differences."""
    written = number(value)
    return written if written.startswith(_MINUS) else f"+{written}"


def coefficient(value: float) -> str:
    """A gene's value exactly as in the recipe, as a short decimal."""
    return f"{value:.6g}".replace("-", _MINUS)


def percent(share: float) -> str:
    """A share in per cent, without needless decimals: 0.95 is "95 %"."""
    return f"{share * 100:.4g} %"


def rate(value: float) -> str:
    """A number per unit of time: an integer from ten on, one decimal below."""
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def count(value: int) -> str:
    """A number of things, with separators of thousands: "1,375"."""
    return f"{value:,}"


def amount(value: int) -> str:
    """A large number with three digits, like the size of a model: "135 M", "6.43 M", "7.24 B"."""
    for unit, size in (("B", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= 0.9995 * size:
            scaled = value / size
            digits = 2 if scaled < 9.995 else 1 if scaled < 99.95 else 0
            return f"{scaled:.{digits}f} {unit}"
    return str(value)


def p_value(value: float) -> str:
    """Three decimals, or "< 0.001" where they would all be zero."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def format_duration(seconds: float) -> str:
    """Seconds in the two largest units: "48 s", "3 min 20 s", "5 h 2 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"
