"""What a recipe says, and the positions that several of them share."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.api.stage import Names


def _as_given(fields: dict[str, Any]) -> Any:
    return fields


def _nothing(own: Names) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Recipe:
    """`path` names every path parameter; each entry of `path`, `query` and `body` is a position, tried alone.

    `needs` are the body fields of a valid call, `wrap` makes the body of fields; `asks` are further queries whose
    answers must not depend on another organization; `neutral` are parameters that can name nothing of anybody's.
    """

    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)
    needs: Callable[[Names], dict[str, Any]] = _nothing
    wrap: Callable[[dict[str, Any]], Any] = _as_given
    asks: tuple[Mapping[str, str], ...] = ()
    neutral: frozenset[str] = frozenset()


TAGGED = {"tags.{tag}": "{tag_value}"}
LEFT_OUT = {"not.team": "{team}", "not.user": "{user}", "not.tags.{tag}": "{tag_value}"}
FOUND_BY = {
    "team": "{team}",
    "project": "{project}",
    "workflow": "{workflow}",
    "team_name": "{team}",
    "project_name": "{project}",
    "workflow_name": "{workflow}",
    "api_key": "{api_key}",
    **{
        name: f"{{{name}}}"
        for name in (
            "user", "task_type", "provider", "model", "environment", "run_id", "parent_run_id", "operation", "region",
            "workflow_version", "tool_name", "error_type", "stop_reason", "prompt_version", "escalated_from",
            "model_served",
        )
    },
    **TAGGED,
    **LEFT_OUT,
}  # fmt: skip
RUN_FOUND_BY = ("workflow", "team", "project", "environment", "user", "run_id", "parent_run_id")
KNOWN_MODEL = {"to_provider": "anthropic", "to_model": "claude-sonnet-4-5"}

# Fields of a closed list of words.
WORDS = frozenset({"service_tier", "status", "outcome", "priced"})
RANGE = frozenset({"from", "to", "limit"})
MONTH = frozenset({"month"})
A_PLAN = {
    "steps": [{"name": "answer", "model": {"provider": "anthropic", "model": "claude-sonnet-4-5"}}],
    "runs_per_month": 1000,
}
