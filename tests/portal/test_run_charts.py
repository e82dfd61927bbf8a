"""Charts of a run: their numbers are those of its calls, and bounds fall where they would have stopped it."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
import vl_convert

from apps.core.meters import METERS
from apps.portal.meters import CONTEXT_GROUPS, METER_GROUPS
from apps.portal.run_chart import run_charts
from apps.portal.run_tree import Axis, Call

START = datetime(2026, 11, 24, 10, tzinfo=UTC)
PRICED = tuple(Decimal(size) / 1000 for size in (3, 2, 1, 4, 0, 0))


def call(number, **fields):
    call = Call(
        event_id=f"e{number}", number=number, run_id="r", step=number, attempt=1,
        occurred_at=START + timedelta(minutes=number), latency_ms=500, model="gpt-5", tool_name=None,
        escalated_from=None, status="ok", error_type=None, quantities=(300, 200, 100, 50, 0, 0), context_tokens=600,
        cache_hit_share=Decimal("0.5"), output_tokens=50, cost_usd=sum(PRICED), costs=PRICED, url="/",
    )  # fmt: skip
    return replace(call, **fields)


UNPRICED = {"cost_usd": None, "costs": (None,) * len(METER_GROUPS)}
NOTHING = {"quantities": (0,) * len(METER_GROUPS), "context_tokens": 0, "cache_hit_share": None}


def test_every_meter_is_in_one_group():
    assert sorted(meter for group in METER_GROUPS for meter in group.meters) == sorted(METERS)
    assert METER_GROUPS[: len(CONTEXT_GROUPS)] == CONTEXT_GROUPS


def test_bars_are_as_high_as_what_the_calls_read_and_cost():
    charts = run_charts([call(1), call(2), call(3, **UNPRICED)], ())
    for chart, height in ((charts.context, Decimal(600)), (charts.cost, sum(PRICED))):
        heights = {}
        for bar in chart.spec["datasets"]["bars"]:
            number = bar["first"] + 0.5
            heights[number] = heights.get(number, 0) + Decimal(bar["high"]) - Decimal(bar["low"])
        assert heights[1] == heights[2] == height
    assert {bar["first"] for bar in charts.cost.spec["datasets"]["bars"]} == {0.5, 1.5}
    assert "1 unpriced" in charts.cost.sentence
    assert [entry.label for entry in charts.legend] == ["Cache read", "Cache write", "Input", "Output"]
    assert [entry.label for entry in charts.context_legend] == ["Cache read", "Cache write", "Input"]


def test_what_is_not_there_is_not_drawn():
    assert run_charts([], ()) is None
    charts = run_charts([call(1, **UNPRICED, **NOTHING)], ())
    assert charts.cached is charts.cost is None
    assert charts.context.spec["datasets"]["bars"] == []


def test_retries_and_escalations_are_marked_on_their_bar():
    charts = run_charts([call(1), call(2, attempt=2), call(3, escalated_from="gpt-5-mini", attempt=3)], ())
    marks = charts.cost.spec["datasets"]["marks"]
    assert [(mark["n"], mark["kind"]) for mark in marks] == [(2, "retry"), (3, "retry"), (3, "escalation")]
    assert {Decimal(mark["top"]) for mark in marks} == {sum(PRICED)}


@pytest.mark.parametrize(
    ("minutes", "falls_before"),
    [
        ({"cost": 1}, [(6, "cost")]),  # the first call of this page itself
        ({"cost": 0}, []),  # on an earlier page
        ({"cost": 2.5}, [(8, "cost")]),  # in a child run meanwhile
        ({"cost": 9}, []),  # on a later page
        ({"cost": 3, "steps": 3, "time": 4}, [(8, "cost, steps"), (9, "time")]),
    ],
)
def test_a_bound_falls_before_the_first_call_beyond_it(minutes, falls_before):
    calls = [call(number, occurred_at=START + timedelta(minutes=number - 5)) for number in range(6, 10)]
    places = [(label, START + timedelta(minutes=at)) for label, at in minutes.items()]
    rules = run_charts(calls, places).context.spec["datasets"].get("rules", [])
    assert [(rule["at"] + 0.5, rule["label"]) for rule in rules] == falls_before
    assert [bool(rule["name"]) for rule in rules] == [True, *[False] * (len(rules) - 1)][: len(rules)]


def test_specs_are_drawn_without_a_warning():
    charts = run_charts([call(1), call(2, attempt=2)], [("cost", START + timedelta(minutes=2))])
    for chart in (charts.context, charts.cached, charts.cost):
        assert vl_convert.vegalite_to_svg(json.dumps({**chart.spec, "width": 400})).count("<path") > 2


def test_a_bar_is_never_too_narrow_to_see_nor_beyond_the_axis():
    axis = Axis(START, START + timedelta(hours=10))
    for at in (START, axis.end):
        bar = axis.bar(at, at, [("1", Decimal(1)), ("2", Decimal(3))], "")
        ends = [Decimal(part.x[:-1]) + Decimal(part.width[:-1]) for part in bar.segments]
        assert ends[-1] <= 100
        assert sum(Decimal(part.width[:-1]) for part in bar.segments) == Decimal("0.80")
    assert axis.bar(START, START, [("1", Decimal(0))], "").segments[0].swatch == "none"
    point = Axis(START, START)
    assert point.bar(START, START, (), "").segments[0].width == "0.80%"
