"""Chart specs: the table's numbers are the chart's numbers, colours are fixed, words are there."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import altair as alt
import pytest
import vl_convert
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.portal.charts import (
    SERIES_MAX,
    Ahead,
    Chart,
    Granularity,
    Span,
    SpendPoint,
    bucket_end,
    colour_slots,
    spend_over_time,
)

BERLIN = ZoneInfo("Europe/Berlin")
AT = datetime(2026, 11, 24, 10, 42, tzinfo=BERLIN)
NOVEMBER = Span(datetime(2026, 11, 1, tzinfo=BERLIN), datetime(2026, 12, 1, tzinfo=BERLIN), "day", AT)
NAMES = [f"team-{letter}" for letter in "abcdefghijkl"]


def point(day: int, series: str | None, usd: str | None) -> SpendPoint:
    return SpendPoint(datetime(2026, 11, day, tzinfo=BERLIN), series, None if usd is None else Decimal(usd))


def drawn(points: list[SpendPoint], order: list[str] | None = None, span: Span = NOVEMBER) -> Chart:
    return spend_over_time(points, span=span, order=order or NAMES)


def test_every_bar_is_a_cell_of_the_table() -> None:
    chart = drawn([point(1, "team-a", "3.5"), point(1, None, "0.25"), point(2, "team-b", "1")])
    bars = chart.spec["datasets"]["bars"]
    heights = [Decimal(bar["high"]) - Decimal(bar["low"]) for bar in bars]
    assert heights == [cell for row in chart.rows for cell in row.cells if cell]
    assert [entry.label for entry in chart.legend] == ["team-a", "team-b", "unattributed"]


# The first drawing of a kind takes altair longer than the usual deadline.
@settings(deadline=None)
@given(
    st.lists(
        st.builds(
            point,
            st.integers(1, 30),
            st.sampled_from([*NAMES, None]),
            st.none() | st.decimals(-(10**6), 10**6, places=12).map(str),
        )
    )
)
def test_nothing_is_lost_between_points_and_table(points: list[SpendPoint]) -> None:
    chart = drawn(points)
    assert sum(row.total_usd for row in chart.rows) == sum(each.cost_usd or 0 for each in points)
    assert len([entry for entry in chart.legend if entry.swatch.isdigit()]) <= SERIES_MAX


def test_bars_stack_without_gaps_and_credits_hang_below_zero() -> None:
    chart = drawn([point(3, "team-a", "5"), point(3, "team-b", "2"), point(3, "team-c", "-1")])
    edges = [(bar["low"], bar["high"]) for bar in chart.spec["datasets"]["bars"]]
    assert edges == [("0", "5"), ("5", "7"), ("-1", "0")]


def test_an_unknown_cost_is_no_zero() -> None:
    chart = drawn([point(1, "team-a", None), point(1, "team-b", "0")])
    assert dict(zip([entry.label for entry in chart.legend], chart.rows[0].cells, strict=True)) == {
        "team-a": None,
        "team-b": Decimal(0),
    }


def test_today_is_marked_so_far_and_no_other_day() -> None:
    chart = drawn([point(23, "team-a", "1"), point(24, "team-a", "1")])
    assert [row.so_far for row in chart.rows] == [False, True]
    assert chart.spec["datasets"]["span"][0]["so_far_text"] == "so far"
    assert "so far" in chart.sentence


def test_a_range_that_is_over_has_nothing_so_far() -> None:
    span = Span(NOVEMBER.start, NOVEMBER.end, "day", NOVEMBER.end)
    chart = drawn([point(30, "team-a", "1")], span=span)
    assert chart.spec["datasets"]["span"][0]["so_far_text"] == ""
    assert "so far" not in chart.sentence


def test_the_sentence_tells_the_total_and_the_peak() -> None:
    chart = drawn([point(1, "team-a", "2"), point(9, "team-a", "40"), point(9, "team-b", "1.5")])
    assert "43.50 USD in all" in chart.sentence
    assert "the most on Mon 9 Nov with 41.50 USD" in chart.sentence


def test_no_spend_is_a_sentence_and_an_empty_chart() -> None:
    chart = drawn([])
    assert (chart.sentence, chart.rows, chart.legend) == ("No spend in this range.", (), ())


def test_the_ninth_series_and_on_are_summed_as_other() -> None:
    chart = drawn([point(1, name, str(100 - place)) for place, name in enumerate(NAMES)])
    assert chart.legend[-1].label == "other (4)"
    assert chart.rows[0].cells[-1] == Decimal(92 + 91 + 90 + 89)
    assert chart.swatch_of("team-l") == "other"


def test_a_series_named_like_ours_keeps_its_own_bar() -> None:
    chart = drawn([point(1, "unattributed", "2"), point(1, None, "3")], order=["unattributed"])
    assert [entry.swatch for entry in chart.legend] == ["1", "none"]
    assert chart.rows[0].cells == (Decimal(2), Decimal(3))
    assert (chart.swatch_of("unattributed"), chart.swatch_of(None)) == ("1", "none")


@given(st.sets(st.sampled_from(NAMES[:SERIES_MAX]), min_size=1))
def test_up_to_eight_teams_keep_their_colour_on_every_chart(present: set[str]) -> None:
    slots = colour_slots({name: Decimal(1) for name in present}, NAMES[:SERIES_MAX])
    assert slots == {name: NAMES.index(name) for name in present}


@given(st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), st.decimals(0, 100, places=2)))
def test_no_two_series_share_a_colour(totals: dict[str | None, Decimal]) -> None:
    slots = colour_slots(totals, NAMES)
    assert len(slots) == min(len(totals), SERIES_MAX)
    assert len(set(slots.values())) == len(slots)
    assert set(slots.values()) <= set(range(SERIES_MAX))


@pytest.mark.parametrize(
    ("granularity", "start", "end"),
    [
        ("hour", datetime(2026, 11, 24, 23, tzinfo=BERLIN), datetime(2026, 11, 25, tzinfo=BERLIN)),
        ("day", datetime(2026, 10, 25, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN)),
        ("week", datetime(2026, 10, 19, tzinfo=BERLIN), datetime(2026, 10, 26, tzinfo=BERLIN)),
        ("month", datetime(2026, 12, 1, tzinfo=BERLIN), datetime(2027, 1, 1, tzinfo=BERLIN)),
    ],
)
def test_a_bucket_ends_where_the_next_begins(granularity: Granularity, start: datetime, end: datetime) -> None:
    assert bucket_end(start, granularity) == end


def test_days_are_those_of_the_organization_whatever_zone_the_points_come_in() -> None:
    midnight_in_berlin = datetime(2026, 11, 2, 23, tzinfo=UTC)
    chart = drawn([SpendPoint(midnight_in_berlin, "team-a", Decimal(1))])
    assert chart.rows[0].label == "Tue 3 Nov"
    third_of_november = int(datetime(2026, 11, 3, tzinfo=UTC).timestamp()) * 1000
    assert chart.spec["datasets"]["bars"][0]["start"] == third_of_november


def test_the_hour_that_comes_twice_keeps_both_its_costs() -> None:
    first = datetime(2026, 10, 25, 0, tzinfo=UTC)
    span = Span(
        first.astimezone(BERLIN) - timedelta(hours=2),
        first.astimezone(BERLIN) + timedelta(days=1),
        "hour",
        AT,
    )
    points = [SpendPoint(first + timedelta(hours=hours), "team-a", Decimal(1)) for hours in range(3)]
    assert sum(row.total_usd for row in drawn(points, span=span).rows) == 3


def test_the_spec_is_valid_vega_lite_and_carries_no_float() -> None:
    chart = drawn([point(1, "team-a", "0.000000000001"), point(2, None, "12345678901234.000000000001")])
    alt.LayerChart.from_dict(dict(chart.spec), validate=True)
    assert not any(isinstance(value, float) for bar in chart.spec["datasets"]["bars"] for value in bar.values())


def test_it_draws_a_hostile_name_as_text() -> None:
    name = "</script><b>&"
    chart = drawn([point(1, name, "1")], order=[name])
    svg = vl_convert.vegalite_to_svg(json.dumps({**chart.spec, "width": 600}))
    assert svg.count("#0072B2") >= 1
    assert "</script>" not in svg


# --- what adds up ---


def added_up(points: list[SpendPoint], **ahead: Any) -> Chart:
    fields = {"end": NOVEMBER.end, "forecast_usd": Decimal(40), **ahead}
    return spend_over_time(points, span=NOVEMBER, order=NAMES, drawn="sum", ahead=Ahead(**fields))


def test_spend_adds_up_and_its_table_does_not() -> None:
    chart = added_up([point(1, "team-a", "3"), point(2, "team-b", "1"), point(3, "team-a", "4"), point(3, None, None)])
    bars = chart.spec["datasets"]["bars"]
    edges = [(bar["series"], bar["low"], bar["high"]) for bar in bars]
    assert edges == [
        ("team-a", "0", "3"), ("team-a", "0", "3"), ("team-b", "3", "4"), ("team-a", "0", "7"), ("team-b", "7", "8"),
    ]  # fmt: skip
    assert [row.total_usd for row in chart.rows] == [3, 1, 4]


def test_a_forecast_goes_on_from_now_to_the_end_of_the_month() -> None:
    chart = added_up([point(1, "team-a", "30")], limit_usd=Decimal(50), limit_name="All of it")
    now, end = chart.spec["datasets"]["rate"]
    assert (now["y"], end["y"], end["label"]) == ("30", "40", "forecast 40.00")
    assert end["at"] == chart.spec["datasets"]["span"][0]["end"]
    (rule,) = chart.spec["datasets"]["rules"]
    assert (rule["y"], rule["label"]) == ("50", "All of it 50.00")
    assert "at the run rate it comes to 40.00 USD; the limit of All of it is 50.00 USD" in chart.sentence


@pytest.mark.parametrize(("limit", "is_drawn"), [("200", True), ("201", False), (None, False)])
def test_a_limit_that_would_make_the_rest_flat_is_not_drawn(limit: str | None, is_drawn: bool) -> None:
    chart = added_up([point(1, "team-a", "30")], limit_usd=None if limit is None else Decimal(limit))
    assert ("rules" in chart.spec["datasets"]) is is_drawn


def test_without_a_forecast_nothing_is_dashed() -> None:
    chart = added_up([point(1, "team-a", "30")], forecast_usd=None)
    assert set(chart.spec["datasets"]) == {"bars", "span"}
    assert "run rate" not in chart.sentence


def test_what_adds_up_can_be_drawn() -> None:
    chart = added_up([point(1, "team-a", "30")], limit_usd=Decimal(50), limit_name="All of it")
    svg = vl_convert.vegalite_to_svg(json.dumps({**chart.spec, "width": 600}))
    assert "forecast 40.00" in svg
    assert "All of it 50.00" in svg
