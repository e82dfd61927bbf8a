"""A variance as a page shows it: its lines in words, with the figures and the doors behind each. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from apps.planner.measures import Measures
from apps.planner.variance import Line, Part, Variance, in_cents
from apps.portal import formats
from apps.portal.bridge import Span, bridge
from apps.portal.pages_against import ApartRow, Comparison, LineRow

PARTS_SHOWN = 5
APART_SHOWN = 10
LABELS: Mapping[str, tuple[str, str]] = {
    "volume": ("Volume", "more or fewer runs"),
    "mix": ("Workflow mix", "runs moved between workflows"),
    "loops": ("Loops", "calls a run"),
    "retries": ("Retries", "attempts a call"),
    "routing": ("Routing", "which models answered, and escalations"),
    "context": ("Context", "prompt tokens an attempt"),
    "cache": ("Cache", "what of the prompt came from a cache"),
    "output": ("Output", "tokens an attempt that were answered or thought"),
    "price": ("Price", "USD a token, as it came to"),
    "other": ("Other meters", "searches, images, audio"),
    "new": ("New", "workflows without a counterpart before"),
    "retired": ("Retired", "workflows without usage now"),
}


@dataclass(frozen=True, slots=True)
class Sides:
    """What the two sides are called, and their figures where both are of one workflow."""

    before: str
    after: str
    measures: tuple[Measures, Measures] | None = None


Door = Callable[[Line], tuple[str, str]]


def comparison_of(found: Variance, sides: Sides, door: Door) -> Comparison:
    """`door` gives of a line where it leads, and what that opens."""
    cents = in_cents([line.usd for line in found.lines])
    apart = tuple(sorted(_apart(found), key=lambda row: -row.before_calls - row.after_calls))
    rows = tuple(
        _row(found, line, cent, sides, door)
        for line, cent in zip(found.lines, cents, strict=True)
        if not found.is_noise(line)
    )
    return Comparison(
        before_label=sides.before,
        after_label=sides.after,
        before_usd=found.before_usd,
        after_usd=found.after_usd,
        difference=found.change_usd,
        change=formats.change(found.after_usd, found.before_usd),
        flexed_usd=found.flexed_usd,
        controllable_usd=found.controllable_usd,
        rows=rows,
        apart=apart[:APART_SHOWN],
        apart_more=len(apart[APART_SHOWN:]),
        apart_more_calls=sum(row.before_calls + row.after_calls for row in apart[APART_SHOWN:]),
        chart=bridge(
            Span(sides.before, found.before_usd),
            [Span(row.label, row.usd) for row in rows],
            Span(sides.after, found.after_usd),
            flexed=Span("flexed", found.flexed_usd) if found.flexed_usd else None,
        ),
    )


def _row(found: Variance, line: Line, cents: Decimal, sides: Sides, door: Door) -> LineRow:
    label, says = LABELS[line.kind]
    before, after = (_figure(line.kind, side, found) for side in sides.measures) if sides.measures else ("", "")
    if line.kind == "routing" and sides.measures:
        before, after = _shares(line, sides.measures)
    url, opens = door(line)
    is_one_workflow = sides.measures is not None
    return LineRow(
        label=label,
        says=says,
        before=before,
        after=after,
        usd=line.usd,
        shown_usd=cents if abs(line.usd) >= 1 else line.usd,
        is_large=found.is_large(line),
        url=url,
        opens=opens,
        parts=tuple((_part_name(part, is_one_workflow), part.usd) for part in _shown(line.parts)),
    )


def _shown(parts: Sequence[Part]) -> Sequence[Part]:
    """One part that is all of a line says nothing more than the line."""
    return parts[:PARTS_SHOWN] if len(parts) > 1 or (parts and parts[0].model) else ()


def _part_name(part: Part, is_one_workflow: bool) -> str:
    workflow = part.workflow or "calls without a workflow"
    if part.model is None:
        return "calls answered again" if is_one_workflow else workflow
    return part.model.model if is_one_workflow else f"{workflow}, {part.model.model}"


def _figure(kind: str, side: Measures, found: Variance) -> str:
    """What a side was like, in the unit of the line; "" where that says nothing."""
    match kind:
        case "volume":
            by_calls = bool(found.by_calls)
            count = side.calls if by_calls or side.runs is None else side.runs
            return f"{formats.count(round(count))} {'calls' if by_calls else 'runs'}"
        case "loops":
            return _measured(side.calls_per_run, "calls")
        case "retries":
            return _measured(side.attempts_per_call, "attempts")
        case "context":
            return _tokens(side.context_tokens)
        case "cache":
            return formats.NONE if side.cached_share is None else f"{_share(side.cached_share)} read from a cache"
        case "output":
            return _tokens(side.output_tokens)
    return ""


def _shares(line: Line, sides: tuple[Measures, Measures]) -> tuple[str, str]:
    """The model that moved the line most, by its part of attempts, and what was escalated."""
    model = next((part.model for part in line.parts if part.model), None)
    if model is None:
        before, after = (side.escalated_share or 0.0 for side in sides)
        return f"{_share(before)} escalated", f"{_share(after)} escalated"
    before, after = (side.model_shares.get(model, 0.0) for side in sides)
    return f"{_share(before)} {model.model}", f"{_share(after)} {model.model}"


def _measured(value: float | None, unit: str) -> str:
    return formats.NONE if value is None else f"{value:.2f} {unit}"


def _tokens(value: float | None) -> str:
    return formats.NONE if value is None else f"{formats.tokens(round(value))} tokens"


def _share(value: float) -> str:
    return formats.per_cent(_decimal(value))


def _decimal(value: float) -> Decimal:
    return Decimal(f"{value:.9f}")


def _apart(found: Variance) -> Iterator[ApartRow]:
    for one in found.apart:
        yield ApartRow(
            model=f"{one.model.provider}/{one.model.model}",
            workflow=one.workflow or "",
            before_calls=round(one.before_calls),
            after_calls=round(one.after_calls),
            before_usd=one.before_usd,
            after_usd=one.after_usd,
        )
