"""What both estimators do to the arrays they are given: standardisation, its inverse, and settings from parameters."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar, get_args, get_origin, get_type_hints
from typing import Literal as LiteralType

import numpy as np
from jaxtyping import Float
from sklearn.preprocessing import StandardScaler

from infoser.bounds import validate_integer, validate_number
from infoser.errors import InfoserError

Settings = TypeVar("Settings")


@dataclasses.dataclass(frozen=True)
class Standardisation:
    """Mean and standard deviation of each column, in float64; those of the rows it was made of.

    Attributes:
      mean: (dim,).
      divisor: (dim,) the standard deviation; 1 for a constant column.
      spread: (dim,) the same with 0 for a constant column, so that what is made of it is constant too.
    """

    mean: Float[np.ndarray, " dim"]
    divisor: Float[np.ndarray, " dim"]
    spread: Float[np.ndarray, " dim"]

    @classmethod
    def of(cls, features: np.ndarray) -> Standardisation:
        """By scikit-learn's StandardScaler.

        Args:
          features: (N, dim) finite numbers.

        Raises:
          ValueError: naming the first column whose variance is too large for a float64.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            scaler: Any = StandardScaler().fit(features.astype(np.float64))
        broken = np.flatnonzero(~(np.isfinite(scaler.mean_) & np.isfinite(scaler.var_)))
        if len(broken):
            raise ValueError(f"column {broken[0]} of X holds numbers too large to be standardised; scale them down")
        varies = np.sqrt(scaler.var_) == scaler.scale_  # the scaler takes 1 for columns that are constant to its precision
        # A mean is rounded: what is constant is the value itself.
        mean = np.where(varies, scaler.mean_, features[0])
        return cls(mean, scaler.scale_, np.where(varies, scaler.scale_, 0.0))

    def apply(self, features: np.ndarray) -> Float[np.ndarray, "rows dim"]:
        """(x − mean) / deviation, in float32."""
        return ((features.astype(np.float64) - self.mean) / self.divisor).astype(np.float32)

    def invert(self, standardised: np.ndarray) -> Float[np.ndarray, "rows dim"]:
        """The inverse, in float64."""
        return standardised.astype(np.float64) * self.spread + self.mean


def settings_of(kind: type[Settings], values: Mapping[str, Any], where: str = "") -> Settings:
    """A dataclass of settings with these values, all checked, and its defaults for the others.

    Args:
      kind: of `infoser.config`.
      values: by the field's name.
      where: what the values were given in, for messages.

    Raises:
      ValueError: for a name that is none of its settings, or a value out of bounds.
      TypeError: for a value of another type.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # pyright: ignore[reportArgumentType]
    hints = get_type_hints(kind)
    checked = {}
    for name, value in values.items():
        said = f"{where}{name}"
        if name not in fields:
            raise ValueError(f"{said}: {kind.__name__} has no such setting; it has {', '.join(fields)}")
        checked[name] = _checked(said, value, hints[name], fields[name].metadata)
    return kind(**checked)


def _checked(name: str, value: Any, kind: Any, bounds: Mapping[str, Any]) -> Any:
    if get_origin(kind) is LiteralType:
        if value not in get_args(kind):
            raise ValueError(f"{name} {value!r}: must be one of {', '.join(map(repr, get_args(kind)))}")
        return value
    value = value.item() if isinstance(value, np.generic) else value  # as a search over np.linspace or np.arange gives
    if isinstance(value, bool) is not (kind is bool) or not isinstance(value, (int, float) if kind is float else kind):
        raise TypeError(f"{name} {value!r}: must be {'a number' if kind is float else f'of type {kind.__name__}'}")
    try:
        if kind is float:
            validate_number(name, float(value), bounds)
            return float(value)
        if kind is int:
            validate_integer(name, value)
    except InfoserError as error:
        raise ValueError(str(error)) from error
    return value
