"""The time span that a Retrieve's `dateRange` comes to, if that can be said without running the logic."""

from __future__ import annotations

from sluice_fhir.measures.datatypes import Period

MEASUREMENT_PERIOD = "Measurement Period"
_PARTS = ("year", "month", "day", "hour", "minute", "second")
_WIDTHS = (4, 2, 2, 2, 2, 2)


def period_of(node: object, measurement_period: Period | None) -> Period | None:
    """Give the period that an expression stands for; None if it depends on data or is not known.

    An end that does not belong to the interval is given all the same: too much is found, never too little.
    """
    if not isinstance(node, dict):
        return None
    if node.get("type") == "ParameterRef" and node.get("name") == MEASUREMENT_PERIOD:
        return measurement_period
    if node.get("type") != "Interval":
        return None
    low, high = _moment(node.get("low")), _moment(node.get("high"))
    return Period(start=low, end=high) if low and high else None


def _moment(node: object) -> str | None:
    """Write a DateTime or Date of literals as FHIR does: `2024`, `2024-01-31`, or to the second and zoned."""
    if not isinstance(node, dict) or node.get("type") not in ("DateTime", "Date"):
        return None
    parts: list[str] = []
    for name, width in zip(_PARTS, _WIDTHS, strict=True):
        if (digits := _digits(node.get(name))) is None:
            break
        parts.append(digits.rjust(width, "0"))
    if not parts:
        return None
    date = "-".join(parts[:3])
    # FHIR has no hours without minutes, and no time without a zone; CQL's default zone is the request's.
    return f"{date}T{':'.join(parts[3:])}Z" if len(parts) == len(_PARTS) and _zone(node) else date


def _zone(node: dict[str, object]) -> bool:
    offset = node.get("timezoneOffset")
    return isinstance(offset, dict) and offset.get("value") in ("0", "0.0")


def _digits(node: object) -> str | None:
    value = node.get("value") if isinstance(node, dict) else None
    return value if isinstance(value, str) and value.isascii() and value.isdigit() else None
