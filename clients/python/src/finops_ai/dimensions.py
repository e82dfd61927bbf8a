"""What a call is for: the fields by which spend is attributed and budgets are found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from typing_extensions import Unpack as Unpack


class Scope(TypedDict, total=False):
    """What a lease is for, and every call under it."""

    team: str | None
    project: str | None
    workflow: str | None
    workflow_version: str | None
    task_type: str | None
    user: str | None
    environment: str | None
    tags: Mapping[str, str] | None
    operation: str | None
    region: str | None
    service_tier: str | None
    run_id: str | None
    parent_run_id: str | None


class Place(TypedDict, total=False):
    """A call's place in its run. `step` from 0, `attempt` from 1; `tool_call_hash` of a tool and its arguments."""

    step: int | None
    attempt: int | None
    tool_name: str | None
    tool_call_hash: str | None
    escalated_from: str | None
    prompt_version: str | None


class Dimensions(Scope, Place, total=False):
    """All that a call may say of itself."""


class Result(TypedDict, total=False):
    """What is known after a call, as an event carries it."""

    model_served: str | None
    stop_reason: str | None
    request_id: str | None
    status: str | None
    error_type: str | None
    outcome: str | None
    latency_ms: int | None
    usage_format: str | None
    prefix_hash: str | None
    request_hash: str | None
    retrieved_tokens: int | None
    tool_result_tokens: int | None
    tool_name: str | None
    tool_call_hash: str | None


def checked(given: Mapping[str, Any], known: type) -> dict[str, Any]:
    """What is given and not None. Raises `TypeError` for another name: mistyped, it would slip past its budget."""
    names = known.__annotations__
    for name in given:
        if name not in names:
            raise TypeError(f"{name!r} is no field here: use {', '.join(names)}.")
    return {name: value for name, value in given.items() if value is not None}
