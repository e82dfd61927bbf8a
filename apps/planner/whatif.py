"""What if: a plan with another model, another price, another bound, or more runs. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from apps.planner.definition import CACHES, model_of
from apps.planner.levers import change_cap, swap_model
from apps.planner.prices import PlanCard, read_supposed
from apps.planner.reading import choice_of, invalid, name_of, number_of, object_of, whole_of
from apps.planner.shapes import CALLS_MAX, CacheLife, ModelChoice, Plan

VARIANTS_MAX = 6
NAME_MAX = 100
VOLUME_MAX = 1_000
_FIELDS = ("name", "swap", "prices", "calls_max", "cache", "volume")


@dataclass(frozen=True, slots=True)
class Change:
    """One column beside the plan. `swap` puts a model wherever another stands; `calls_max` is by step; `cache` is for
    every step; `volume` multiplies the runs.
    """

    name: str
    swap: tuple[ModelChoice, ModelChoice] | None = None
    supposed: tuple[PlanCard, ...] = ()
    calls_max: tuple[tuple[str, int], ...] = ()
    cache: CacheLife | None = None
    volume: float = 1.0


def changed(plan: Plan, change: Change) -> Plan:
    """The plan with the change made. Raises KeyError for a step that it has not."""
    if change.swap is not None:
        plan = swap_model(plan, *change.swap)
    for step, calls_max in change.calls_max:
        plan = change_cap(plan, step, calls_max)
    if change.cache is not None:
        plan = replace(plan, steps=tuple(replace(step, cache=change.cache) for step in plan.steps))
    return replace(plan, runs_per_month=plan.runs_per_month.times(change.volume))


def read_changes(given: Any, plan: Plan) -> tuple[Change, ...]:
    """Raises `DomainError` (`plan_invalid`) with the path of what is wrong."""
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > VARIANTS_MAX:
        raise invalid("variants", f"is a list of at most {VARIANTS_MAX} changes of the plan.")
    return tuple(_read(one, f"variants[{place}]", plan) for place, one in enumerate(given))


def _read(given: Any, path: str, plan: Plan) -> Change:
    fields = object_of(given, path, _FIELDS)
    caps = object_of(fields.get("calls_max") or {}, f"{path}.calls_max", [step.name for step in plan.steps])
    cache = fields.get("cache")
    return Change(
        name=name_of(fields.get("name"), f"{path}.name", NAME_MAX),
        swap=None if fields.get("swap") is None else _swap(fields["swap"], f"{path}.swap", plan),
        supposed=read_supposed(fields.get("prices") or (), f"{path}.prices"),
        calls_max=tuple((step, whole_of(n, f"{path}.calls_max.{step}", 1, CALLS_MAX)) for step, n in caps.items()),
        cache=None if cache is None else choice_of(cache, f"{path}.cache", CACHES),
        volume=number_of(fields.get("volume", 1), f"{path}.volume", 0, VOLUME_MAX),
    )


def _swap(given: Any, path: str, plan: Plan) -> tuple[ModelChoice, ModelChoice]:
    fields: Mapping[str, Any] = object_of(given, path, ("from", "to"))
    old, new = (model_of(fields.get(end), f"{path}.{end}") for end in ("from", "to"))
    if all(old not in (step.model, step.escalates_to) for step in plan.steps):
        raise invalid(f"{path}.from", f"is {old.provider}/{old.model}, which no step of the plan uses.")
    return old, new
