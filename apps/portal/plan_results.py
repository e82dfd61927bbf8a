"""A stored result of a plan as pages show it: amounts, months, drivers and levers in words."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

from apps.planner.announcing import month_later
from apps.planner.controls import asked_by
from apps.planner.results import decimal_at
from apps.portal import formats, plan_charts
from apps.portal.access import Visit
from apps.portal.pages_plans import DriverRow, LeverRow, LoopRow, MonthRow, PartRow, PriceRow, ResultPanel
from apps.portal.plan_form import LABELS

LEVERS = {
    "bound_loops": "bound loops",
    "limit_retries": "fewer retries",
    "trim_tool_results": "trim tool results",
    "trim_retrieved": "trim context",
    "cache": "cache prefix",
    "compact": "compact",
    "route": "route",
    "batch": "batch",
}
SOURCES = {"catalog": "catalog", "contract": "your contract", "supposed": "supposed"}
DRIVERS_SHOWN = 10
HALF_A_CENT = Decimal("0.005")


def result_panel(
    visit: Visit,
    result: Mapping[str, Any] | None,
    cards: Sequence[Mapping[str, Any]],
    *,
    prices_at: datetime,
    first: date,
    supposed: Mapping[str, str] | None = None,
    definition: Mapping[str, Any],
) -> ResultPanel:
    """`first` is the day from which months are counted; `supposed` are the form's supposed prices, if it has any."""
    prices = tuple(_price(visit, card, place, supposed or {}) for place, card in enumerate(cards))
    unpriced = tuple(card["detail"] for card in cards if card["rates"] is None)
    if result is None:
        return ResultPanel(True, unpriced, prices, prices_at)
    months = tuple(_months(result, first))
    budget = None if result["budget_usd"] is None else Decimal(result["budget_usd"])
    drivers = tuple(_driver(row, len(definition["steps"])) for row in result["drivers"][:DRIVERS_SHOWN])
    levers = tuple(map(_lever, result["levers"]))
    likely = decimal_at(result, "months", 0, "p50_usd")
    # What the waterfall begins with is the first month at the likely inputs.
    base = _base(result, definition)
    advised = [lever.after_usd for lever in levers if lever.is_advised]
    asked = asked_by(dict(result))
    return ResultPanel(
        False,
        (),
        prices,
        prices_at,
        run=_row(result["run"], first, "a run"),
        one_run=_row(result["one_run"], first, "one run"),
        success_usd=None if result["success"] is None else decimal_at(result, "success", "p50_usd"),
        months=months,
        year_usd=decimal_at(result, "year_mean_usd"),
        budget_usd=budget,
        over=_share(result["over_budget"]),
        multiple="" if result["chatbot_multiple"] is None else f"{result['chatbot_multiple']:.1f}".removesuffix(".0"),
        chatbot_usd=decimal_at(result, "chatbot_usd"),
        drivers=drivers,
        levers=levers,
        saved_usd=base - advised[-1] if advised else None,
        parts=tuple(_parts(result)),
        other_usd=decimal_at(result, "other_usd"),
        loops=tuple(_loops(result, definition)),
        fan=plan_charts.fan(months, budget),
        has_tail=plan_charts.has_tail(months, budget),
        tornado=plan_charts.tornado(drivers, base) if drivers else None,
        waterfall=plan_charts.waterfall(base, levers) if advised else None,
        ask_budget_usd=asked.budget_usd,
        ask_cap_usd=asked.cap_usd,
        ask_run_usd=asked.max_cost_usd,
        ask_steps=asked.max_steps,
        ask_attempts=asked.max_attempts,
        sentence=_sentence(result, likely),
        # A version that was reckoned before there were any has none.
        warnings=tuple(warning["detail"] for warning in result.get("warnings", ())),
    )


def _base(result: Mapping[str, Any], definition: Mapping[str, Any]) -> Decimal:
    runs = definition["runs_per_month"]
    likely_runs = runs["likely"] if isinstance(runs, Mapping) else runs
    return decimal_at(result, "likely_usd") * Decimal(str(likely_runs))


def _sentence(result: Mapping[str, Any], likely: Decimal) -> str:
    """What it comes to, for those who read nothing else."""
    run, high = decimal_at(result, "run", "p50_usd"), decimal_at(result, "months", 0, "p90_usd")
    words = (
        f"A run costs about ${formats.money(run)}, and the first month about {formats.dollars(likely)}; nine times in"
        f" ten it stays below {formats.dollars(high)}."
    )
    if result["chatbot_multiple"] is None:
        return words
    return f"{words} A run costs {result['chatbot_multiple']:.1f} times what one answer of a chatbot does."


def _months(result: Mapping[str, Any], first: date) -> Iterator[MonthRow]:
    over = result["over_budget_months"] or [None] * len(result["months"])
    for place, (month, chance) in enumerate(zip(result["months"], over, strict=True)):
        day = month_later(first, place)
        yield _row(month, day, f"{place + 1}. from {day.day} {day:%b %Y}", _share(chance))


def _row(found: Mapping[str, Any], day: date, label: str, over: Decimal | None = None) -> MonthRow:
    amounts = {f"{name}_usd": Decimal(found[f"{name}_usd"]) for name in ("mean", "p10", "p50", "p90", "p99")}
    return MonthRow(day=day, label=label, over=over, **amounts)


def _share(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def driver_label(name: str, steps: int) -> str:
    step, _, field = name.rpartition(".")
    label = LABELS.get(field, field.replace("_", " "))
    return f"{label}, {step}" if step and steps > 1 else label


def _driver(row: Mapping[str, Any], steps: int) -> DriverRow:
    low, high = Decimal(row["low_usd"]), Decimal(row["high_usd"])
    return DriverRow(
        label=driver_label(row["name"], steps),
        low_usd=low,
        high_usd=high,
        swing_usd=abs(high - low),
        correlation=f"{row['correlation']:+.2f}".replace("-", formats.MINUS),
    )


def _lever(row: Mapping[str, Any]) -> LeverRow:
    saving = {part: _cents_at_least(row["saving_usd"][part]) for part in ("low", "likely", "high")}
    return LeverRow(
        label=LEVERS.get(row["name"], row["name"]),
        alone_usd=_cents_at_least(row["alone_usd"]),
        after_usd=Decimal(row["joint_after_usd"]),
        low_usd=saving["low"],
        likely_usd=saving["likely"],
        high_usd=saving["high"],
        is_advised=row["advised"],
        reason=row["reason"],
    )


def _cents_at_least(text: str) -> Decimal:
    """Of an estimate of a month, what is less than half a cent is nothing."""
    usd = Decimal(text)
    return usd if abs(usd) >= HALF_A_CENT else Decimal(0)


def _parts(result: Mapping[str, Any]) -> Iterator[PartRow]:
    whole = decimal_at(result, "likely_usd")
    for step in result["steps"]:
        for model in step["models"]:
            tokens = {name: one["tokens"] for name, one in model["classes"].items()}
            usd = Decimal(model["usd"])
            yield PartRow(
                step=step["name"],
                model=f"{model['provider']}/{model['model']}",
                calls=f"{model['calls']:.2f}".rstrip("0").rstrip("."),
                tokens_in=round(tokens["input"] + tokens["cache_write_5m"] + tokens["cache_write_1h"]),
                tokens_cached=round(tokens["cache_read"]),
                tokens_out=round(tokens["output"] + tokens["reasoning"]),
                usd=usd,
                share=formats.share(usd, whole),
            )


def _loops(result: Mapping[str, Any], definition: Mapping[str, Any]) -> Iterator[LoopRow]:
    bounds = {step["name"]: step["calls_max"] for step in definition["steps"]}
    for loop in result["loops"]:
        contexts = loop["context_tokens"]
        at = min(loop["calls_p99"], len(contexts)) - 1
        yield LoopRow(
            step=loop["step"],
            mean=f"{loop['calls_mean']:.1f}".removesuffix(".0"),
            p50=loop["calls_p50"],
            p99=loop["calls_p99"],
            bound=bounds.get(loop["step"], 0),
            cut=_share(loop["cut_share"]) or Decimal(0),
            advised=loop["calls_max_advised"],
            first_tokens=contexts[0] if contexts else 0,
            last_tokens=contexts[at] if contexts else 0,
        )


def _price_url(visit: Visit, card: Mapping[str, Any]) -> str:
    return f"{visit.url('prices')}/{quote(card['provider'], safe='')}/{quote(card['model'], safe='')}"


def _price(visit: Visit, card: Mapping[str, Any], place: int, supposed: Mapping[str, str]) -> PriceRow:
    name = f"{card['provider']}/{card['model']}"
    rates = card["rates"]
    notes = []
    if card.get("over_prompt_tokens"):
        notes.append(f"prompts over {formats.count(card['over_prompt_tokens'])} tokens cost more, and are not reckoned")
    if rates is None:
        notes.append("no price is known")
    given = {supposed.get(f"price[{number}].model", ""): number for number in range(40)}.get(name)
    field = f"price[{place}]"
    was = f"price[{given}]" if given is not None else ""
    return PriceRow(
        model=name,
        source=SOURCES.get(card["source"], "unpriced"),
        url="" if visit.teams is not None or rates is None else _price_url(visit, card),
        input=None if rates is None else Decimal(rates["input_tokens"]),
        output=None if rates is None else Decimal(rates["output_tokens"]),
        cache_read=None if rates is None else Decimal(rates["cache_read_tokens"]),
        note="; ".join(notes),
        field=field,
        given_input=supposed.get(f"{was}.input", "") if was else "",
        given_output=supposed.get(f"{was}.output", "") if was else "",
    )
