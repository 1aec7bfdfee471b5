"""Settings that are numbers, and their bounds."""

import math
import struct
from dataclasses import field
from typing import Any

from infoser.errors import InfoserError

#: The bounds of a floating-point setting, in its metadata.
NUMBER = {"low": 0.0, "high": math.inf, "low_open": False, "high_open": True}


def number(default: float, **bounds: float | bool) -> Any:
    """A field whose value must be finite and within bounds (low, high; `low_open`, `high_open` exclude them)."""
    return field(default=default, metadata=NUMBER | bounds)


def share(default: float) -> Any:
    """A field that must lie in [0, 1)."""
    return number(default, high=1.0)


def validate_integer(flag: str, value: int) -> None:
    """Refuses a count that is not positive; raises InfoserError, naming the flag."""
    if value < 1:
        raise InfoserError(f"{flag} {value}: must be at least 1")
    if value >= 2**31:  # steps and rows are counted in 32 bits
        raise InfoserError(f"{flag} {value}: must be at most {2**31 - 1}")


def validate_number(flag: str, value: float | int, bounds: Any) -> None:
    """Refuses a number out of its bounds, here or in float32; raises InfoserError, naming the flag."""
    low, high = bounds["low"], bounds["high"]
    for number, rounded in ((value, ""), (_in_float32(value), f", and is {_in_float32(value):g} in float32")):
        too_low = number <= low if bounds["low_open"] else number < low
        too_high = number >= high if bounds["high_open"] else number > high
        if math.isnan(number) or too_low or too_high:
            range_ = f"{'(' if bounds['low_open'] else '['}{low:g}, {high:g}{')' if bounds['high_open'] else ']'}"
            raise InfoserError(f"{flag} {value:.10g}: must lie in {range_}{rounded}")


def _in_float32(value: float) -> float:
    """The number that devices compute with: 0 where it is too small for theirs, infinite where it is too large."""
    try:
        rounded = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded if abs(rounded) >= 2.0**-126 else 0.0  # smaller ones are flushed to 0
