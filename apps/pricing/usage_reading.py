"""Reading a provider's usage object: figures, objects and lists by name, and the error that names what is wrong."""

from collections.abc import Iterator, Mapping

from apps.core.meters import QUANTITY_MAX

USAGE_FORMATS: tuple[str, ...] = (
    "openai_chat",
    "openai_responses",
    "anthropic",
    "gemini",
    "bedrock",
    "mistral",
    "cohere",
    "openai_compatible",
)

Usage = Mapping[str, object]
Meters = dict[str, int]  # every meter, in the order of METERS

_ROOT = "provider_usage"
_SHOWN_CHARACTERS_MAX = 60
NOTHING_SAID: Usage = {}


class UsageError(ValueError):
    """A usage object that cannot be metered; `param` is the path of the offending value."""

    def __init__(self, code: str, param: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.param = param
        self.detail = detail


def writes(source: Usage, key: str, at: str, short: int, long: int, split: str) -> tuple[int, int]:
    """Cache writes of the short and of the long lifetime; what the split leaves open is short."""
    if source.get(key) is None:
        return short, long
    return less(count(source, key, at), short + long, at + key, at + split) + short, long


def count(source: Usage, key: str, within: str = "") -> int:
    """A figure; `within` is the path of `source` under provider_usage, with its dot."""
    value = source.get(key)
    if value is None:
        return 0
    # isinstance would take a bool for an int.
    if type(value) is int and 0 <= value <= QUANTITY_MAX:
        return value
    raise invalid(within + key, value, f"a whole number from 0 to {QUANTITY_MAX}")


def child(source: Usage, key: str, within: str = "") -> Usage:
    value = source.get(key)
    if value is None:
        return NOTHING_SAID
    if isinstance(value, (dict, Mapping)):  # dict first: asking Mapping is slow
        return value
    raise invalid(within + key, value, "an object")


def children(source: Usage, key: str) -> Iterator[tuple[str, Usage]]:
    """The objects of a list, each with its path and a dot."""
    entries = source.get(key)
    if entries is None:
        return
    if not isinstance(entries, (list, tuple)):
        raise invalid(key, entries, "a list")
    for index, entry in enumerate(entries):
        if not isinstance(entry, (dict, Mapping)):
            raise invalid(f"{key}.{index}", entry, "an object")
        yield f"{key}.{index}.", entry


def has(source: Usage, keys: frozenset[str]) -> bool:
    if not keys.isdisjoint(source):
        for key in keys:  # any() would build a generator each call
            if source.get(key) is not None:
                return True
    return False


def require(source: Usage, keys: frozenset[str], at: str = "") -> None:
    if not has(source, keys):
        raise refuse(
            "usage_unrecognized",
            at,
            f"has none of {', '.join(sorted(keys))}; send the provider's usage object as it came, with its "
            f"shape in usage_format ({', '.join(USAGE_FORMATS)})",
        )


def less(whole: int, part: int, whole_at: str, part_at: str) -> int:
    if part > whole:
        raise inconsistent(part_at, part, whole_at, whole)
    return whole - part


def inconsistent(part_at: str, part: int, whole_at: str, whole: int) -> UsageError:
    return refuse(
        "usage_inconsistent",
        part_at,
        f"is {part}, more than the {whole} that {whole_at} has for it; send the provider's usage object as "
        "it came, or the disjoint meters in usage",
    )


def invalid(at: str, value: object, wanted: str) -> UsageError:
    shown = f"a {type(value).__name__}"
    if isinstance(value, (float, str)):
        shown = ascii(value)[:_SHOWN_CHARACTERS_MAX]
    elif isinstance(value, int):  # in hexadecimal where long: Python refuses to print 4,300 decimal digits
        shown = str(value) if abs(value) < QUANTITY_MAX**2 else f"{value:#x}"[:_SHOWN_CHARACTERS_MAX]
    return refuse("usage_invalid", at, f"is {shown}; send {wanted}, or leave it out")


def refuse(code: str, at: str, says: str) -> UsageError:
    param = f"{_ROOT}.{at}" if at else _ROOT
    return UsageError(code, param, f"{param} {says}.")
