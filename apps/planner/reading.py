"""Reading what people wrote of a plan: a value as it is kept, or an error that names its path and the way out. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from apps.core.errors import DomainError
from apps.core.text import is_name

_USD = re.compile(r"[0-9]{1,12}(\.[0-9]{1,12})?")


def object_of(given: Any, path: str, known: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise invalid(path or "definition", f"is an object of {', '.join(known)}.")
    for name in given:
        if name not in known:
            shown = str(name)[:64]
            raise invalid(f"{path}.{shown}" if path else shown, f"is no field here: use {', '.join(known)}.")
    return given


def number_of(given: Any, path: str, lowest: float, highest: float) -> float:
    # Compared before it becomes a float: an integer of four hundred digits cannot.
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not is_number or not lowest <= given <= highest:
        raise invalid(path, f"{_said(given)}: write a number from {plain_text(lowest)} to {plain_text(highest)}.")
    return float(given)


def amount_of(given: Any, path: str, lowest: float, highest: float) -> float:
    if not isinstance(given, str) or not _USD.fullmatch(given) or not lowest <= float(given) <= highest:
        raise invalid(
            path,
            f'{_said(given)}: write USD as a decimal string such as "0.002", from "{plain_text(lowest)}" to'
            f' "{plain_text(highest)}".',
        )
    return float(given)


def whole_of(given: Any, path: str, lowest: int, highest: int) -> int:
    is_whole = isinstance(given, int) and not isinstance(given, bool)
    if not is_whole or not lowest <= given <= highest:
        raise invalid(path, f"{_said(given)}: write a whole number from {lowest} to {highest}.")
    return int(given)


def name_of(given: Any, path: str, length_max: int) -> str:
    if not isinstance(given, str) or not is_name(given.strip(), length_max):
        raise invalid(path, f"{_said(given)}: write 1 to {length_max} printable characters.")
    return given.strip()


def choice_of(given: Any, path: str, known: Sequence[str]) -> Any:
    if given not in known:
        raise invalid(path, f"{_said(given)}: use {', '.join(known)}.")
    return given


def _said(given: Any) -> str:
    return "is missing" if given is None else f"is {str(given)[:64]!r}"


def invalid(path: str, says: str) -> DomainError:
    return DomainError("plan_invalid", f"{path} {says}", param=path)


def plain_text(value: float) -> str:
    """A number without an exponent."""
    return f"{value:.12f}".rstrip("0").rstrip(".")
