"""Why a request was refused, read off the declarations that it broke. Pure."""

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Annotated, Any, cast

import msgspec
from msgspec import Meta, inspect
from msgspec.structs import astuple

from apps.core.errors import DomainError

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
SHOWN_LENGTH_MAX = 64
Instant = Annotated[datetime, Meta(tz=True)]


@cache
def _fields(declared: type[msgspec.Struct]) -> Sequence[inspect.Field]:
    return cast("inspect.StructType", inspect.type_info(declared)).fields


def reason(declared: type[msgspec.Struct], value: Mapping[str, Any], error: Exception) -> DomainError:
    """The first fault, read off the same declarations that msgspec enforced."""
    for field in _fields(declared):
        name = field.encode_name
        sent = value.get(name)
        if sent is None:
            if field.required:
                return DomainError("missing_field", f"{name} is required.", param=name)
            continue
        fault = _fault(field.type, sent, name)
        if fault:
            return fault
    return DomainError("wrong_type", f"This cannot be read: {error}.")


def _fault(declared: inspect.Type, value: object, param: str) -> DomainError | None:
    match declared:
        case inspect.UnionType():
            if value is None:
                return None
            return _fault(next(kind for kind in declared.types if kind != inspect.NoneType()), value, param)
        case inspect.StrType():
            return _string_fault(declared, value, param)
        case inspect.IntType(ge=least, le=most) if least is not None and most is not None:
            return _integer_fault(least, most, value, param)
        case inspect.LiteralType():
            return _choice_fault(declared, value, param)
        case inspect.DateTimeType():
            return _instant_fault(value, param)
        case inspect.DictType():
            return _object_fault(declared, value, param)
    return None


def _string_fault(declared: inspect.StrType, value: object, param: str) -> DomainError | None:
    if not isinstance(value, str):
        return wrong_type("a string", value, param)
    if not value and declared.min_length:
        return DomainError("empty_string", f"{param} is empty; leave it out where nothing is known.", param=param)
    if declared.max_length is not None and len(value) > declared.max_length:
        return DomainError(
            "string_too_long",
            f"{param} has {len(value)} characters; the limit is {declared.max_length}.",
            param=param,
        )
    return None


def _integer_fault(least: int, most: int, value: object, param: str) -> DomainError | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return wrong_type("an integer", value, param)
    if not least <= value <= most:
        return refusal("out_of_range", f"must be from {least} to {most}", value, param)
    return None


def _choice_fault(declared: inspect.LiteralType, value: object, param: str) -> DomainError | None:
    if not isinstance(value, str):
        return wrong_type("a string", value, param)
    if value not in declared.values:
        return refusal("invalid_choice", f"must be one of {', '.join(map(str, declared.values))}", value, param)
    return None


def _instant_fault(value: object, param: str) -> DomainError | None:
    if not isinstance(value, str):
        return wrong_type("a string", value, param)
    try:
        msgspec.convert(value, Instant)
    except (msgspec.ValidationError, UnicodeEncodeError):
        return refusal(
            f"{param}_invalid",
            "must be an RFC 3339 time with an offset, such as 2026-01-31T12:00:00Z",
            value,
            param,
        )
    return None


def _object_fault(declared: inspect.DictType, value: object, param: str) -> DomainError | None:
    if not isinstance(value, dict):
        return wrong_type("an object", value, param)
    if declared.max_length is not None and len(value) > declared.max_length:
        return DomainError(
            "too_many_tags",
            f"{param} has {len(value)} entries; the limit is {declared.max_length}.",
            param=param,
        )
    for key, member in value.items():
        path = f"{param}.{label(key)}"
        fault = _fault(declared.key_type, key, path) or _fault(declared.value_type, member, path)
        if fault:
            return fault
    return None


def wrong_type(expected: str, value: object, param: str) -> DomainError:
    return refusal("wrong_type", f"must be {expected}", value, param)


def refusal(code: str, rule: str, value: object, param: str) -> DomainError:
    return DomainError(code, f"{param} {rule}, not {shown(value)}.", param=param)


def require_plain_text(event: Any) -> None:
    """Raise `DomainError` (`invalid_character`) for a string, or a tag, that cannot be stored."""
    for name, value in zip(event.__struct_fields__, astuple(event), strict=True):
        if isinstance(value, str) and CONTROL.search(value):
            raise invalid_character(name)
    for key, value in (getattr(event, "tags", None) or {}).items():
        if CONTROL.search(key) or CONTROL.search(value):
            raise invalid_character(f"tags.{label(key)}")


def invalid_character(param: str) -> DomainError:
    return DomainError(
        "invalid_character",
        f"{param} holds a control character or half a surrogate pair; remove it.",
        param=param,
    )


def shown(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "an array"
    text = json.dumps(value)
    return text if len(text) <= SHOWN_LENGTH_MAX else f"{text[:SHOWN_LENGTH_MAX]}..."


def label(key: str) -> str:
    """A client's key, made fit to stand in a path."""
    if key.isprintable() and len(key) <= SHOWN_LENGTH_MAX:
        return key
    return json.dumps(key)[1:-1][:SHOWN_LENGTH_MAX]
