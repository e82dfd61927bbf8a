"""Buckets of the gap between a bill and what was metered: each alone, and the laws that all keep."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import sum_usd, usd_from_pico
from apps.reports import gaps
from apps.reports.bill_readers.lines import KINDS
from apps.reports.gaps import BUCKETS, Billed, Gap, Metered, compare

FIRST = date(2026, 11, 1)


def billed(
    usd: str, quantity: int | None = None, *, day: int | None = 1, meter: str = "input_tokens", **more: str
) -> Billed:
    on = None if day is None else FIRST + timedelta(days=day - 1)
    return Billed(on, more.get("model", "gpt-5"), meter, quantity, Decimal(usd), more.get("kind", "usage"))


def metered(usd: str, quantity: int = 0, *, day: int = 1, meter: str = "input_tokens", model: str = "gpt-5") -> Metered:
    return Metered(FIRST + timedelta(days=day - 1), model, meter, quantity, Decimal(usd))


def gap(lines: Sequence[Billed], rows: Sequence[Metered], month_usd: str | None = None) -> Gap:
    total = sum_usd(row.usd for row in rows) if month_usd is None else Decimal(month_usd)
    return compare(lines, rows, month_usd=total)


def something(found: Gap) -> dict[str, Decimal]:
    return {name: usd for name, usd in found.buckets.items() if usd}


@pytest.mark.parametrize(
    ("lines", "rows", "buckets"),
    [
        # The same of both: nothing.
        ([billed("10", 100)], [metered("10", 100)], {}),
        # Another unit price.
        ([billed("12", 100)], [metered("10", 100)], {"price": "2"}),
        # The same unit price, half of it metered.
        ([billed("10", 100)], [metered("5", 50)], {"quantity": "5"}),
        # Half metered, and at half the price.
        ([billed("10", 100)], [metered("2.5", 50)], {"price": "2.5", "quantity": "5"}),
        # More metered than billed.
        ([billed("10", 100)], [metered("12", 120)], {"quantity": "-2"}),
        # Metered, and never billed.
        ([billed("10", 100)], [metered("10", 100), metered("3", 7, model="o3")], {"quantity": "-3"}),
        # A model that was never metered.
        ([billed("10", 100), billed("4", 9, model="o3")], [metered("10", 100)], {"unmetered": "4"}),
        # A day on which nothing of it was metered.
        ([billed("10", 100), billed("10", 100, day=2)], [metered("10", 100)], {"unmetered": "10"}),
        # A day's calls that were metered the day after: nothing is missing.
        ([billed("10", 100), billed("10", 100, day=2)], [metered("20", 200, day=2)], {}),
        # Of two days one was metered by half, the other not at all.
        ([billed("10", 100), billed("10", 100, day=2)], [metered("5", 50)], {"quantity": "5", "unmetered": "10"}),
        # Without quantities a price cannot be told from calls that are missing.
        ([billed("30")], [metered("10", 100)], {"unexplained": "20"}),
        ([billed("30"), billed("9", day=2)], [metered("10", 100)], {"unmetered": "9", "unexplained": "20"}),
        ([billed("9"), billed("9", day=2)], [metered("8.99", 100), metered("8.995", 9, day=2)], {"rounding": "0.015"}),
        # Under a cent a line.
        ([billed("10.009", 100)], [metered("10", 100)], {"rounding": "0.009"}),
        ([billed("10.01", 100)], [metered("10", 100)], {"price": "0.01"}),
        # What is no usage.
        ([billed("10", 100), billed("-2", kind="credit")], [metered("10", 100)], {"credits": "-2"}),
        ([billed("10", 100), billed("1.9", day=None, kind="tax")], [metered("10", 100)], {"tax": "1.9"}),
        ([billed("10", 100), billed("3", kind="fee")], [metered("10", 100)], {"unmetered": "3"}),
        ([billed("10", 100), billed("7", kind="rounding")], [metered("10", 100)], {"rounding": "7"}),
        # A bill that does not name reasoning bills it as output.
        (
            [billed("10", 100, meter="output_tokens")],
            [metered("4", 40, meter="output_tokens"), metered("6", 60, meter="reasoning_tokens")],
            {},
        ),
        # A bill of models, of meters, and of nothing but a sum.
        ([billed("10", meter="")], [metered("4", 40), metered("6", 9, meter="output_tokens")], {}),
        (
            [billed("10", 100, model="")],
            [metered("4", 40), metered("6", 60, model="o3")],
            {},
        ),
        ([billed("99", day=None, model="", meter="")], [metered("4"), metered("6", model="o3")], {"unexplained": "89"}),
        # Cache reads that were metered as input: both cells say so.
        (
            [billed("10", 100), billed("1", 100, meter="cache_read_tokens")],
            [metered("20", 200)],
            {"quantity": "-9"},
        ),
    ],
)  # fmt: skip
def test_a_difference_lands_in_its_bucket(
    lines: list[Billed], rows: list[Metered], buckets: dict[str, str]
) -> None:  # fmt: skip
    found = gap(lines, rows)
    assert something(found) == {name: Decimal(usd) for name, usd in buckets.items()}


def test_hours_at_the_edges_of_the_month_are_timing() -> None:
    found = gap([billed("10", 100)], [metered("10", 100)], month_usd="9")
    assert something(found) == {"timing": Decimal(1)}
    assert found.gap_usd == 1


def test_what_the_rate_adds_is_exchange() -> None:
    line = replace(billed("10", 100), exchange_usd=Decimal("0.4"))
    found = gap([line], [metered("9", 90)])
    assert something(found) == {"exchange": Decimal("0.4"), "quantity": Decimal(1)}
    assert (found.billed_usd, found.gap_usd) == (Decimal("10.4"), Decimal("1.4"))


@pytest.mark.parametrize(
    ("billed_usd", "metered_usd", "verdict"),
    [("100", "96", "agrees"), ("100", "94", "look"), ("1000", "1005", "agrees"), ("100000", "99600", "agrees")],
)
def test_tolerances_of_an_unexplained_gap(billed_usd: str, metered_usd: str, verdict: str) -> None:
    assert gap([billed(billed_usd)], [metered(metered_usd, 1)]).verdict == verdict


def test_tolerances_of_price_quantity_and_days() -> None:
    # 0.1 % of a price, 1 % of a month, 2 % of a day.
    assert gap([billed("10000", 100)], [metered("9990", 100)]).verdict == "agrees"
    assert gap([billed("10000", 100)], [metered("9989", 100)]).verdict == "look"
    near, far = (gap([billed("10000", 10_000)], [metered(str(count), count)]) for count in (9_900, 9_899))
    assert (near.verdict, far.verdict, far.days[0].verdict) == ("agrees", "look", "agrees")
    taxed = gap([billed("10000", 100), billed("1900", kind="tax")], [metered("10000", 100)])
    assert taxed.verdict == "agrees"


def test_coverage_is_by_quantity_where_the_bill_has_it() -> None:
    half_price = gap([billed("10", 100)], [metered("5", 100)])
    assert (half_price.covered_usd, half_price.coverable_usd) == (10, 10)
    half_seen = gap([billed("10", 100), billed("90", model="o3")], [metered("5", 50)])
    assert gaps.share_of(half_seen.covered_usd, half_seen.coverable_usd) == Decimal("0.05")
    more = gap([billed("10", 100)], [metered("30", 300), metered("9", model="o3")])
    assert (more.covered_usd, more.coverable_usd) == (10, 10)
    assert gaps.share_of(Decimal(0), Decimal(0)) is None


def test_days_of_a_model() -> None:
    found = gap(
        [billed("10", 100), billed("5", day=2, model="o3")], [metered("9", 90), metered("5", day=2, model="o3")]
    )
    assert [(day.day.day, day.gap_usd) for day in found.days] == [(1, 1), (2, 0)]
    assert [(day.day.day, day.gap_usd) for day in found.model_days["o3"]] == [(2, 0)]


# --- laws ----------------------------------------------------------------------------------------------

_MODELS = st.sampled_from(["gpt-5", "o3", ""])
_METERS = st.sampled_from(["input_tokens", "output_tokens", "reasoning_tokens", ""])
_DAYS = st.integers(0, 3).map(lambda n: FIRST + timedelta(days=n))
_USD = st.integers(-(10**15), 10**16).map(usd_from_pico)
_LINES = st.lists(
    st.builds(
        Billed, st.none() | _DAYS, _MODELS, _METERS, st.none() | st.integers(-5, 1000), _USD,
        st.sampled_from(KINDS), st.integers(-(10**12), 10**12).map(usd_from_pico),
    ),
    max_size=12,
)  # fmt: skip
_ROWS = st.lists(
    st.builds(Metered, _DAYS, _MODELS.filter(bool), _METERS.filter(bool), st.integers(0, 1000), _USD.map(abs)),
    max_size=12,
)


@given(_LINES, _ROWS, _USD)
def test_buckets_add_up_to_the_gap(lines: list[Billed], rows: list[Metered], month_usd: Decimal) -> None:
    found = compare(lines, rows, month_usd=month_usd)
    assert set(found.buckets) == set(BUCKETS)
    assert sum_usd(found.buckets.values()) == found.gap_usd
    assert found.gap_usd == sum_usd([found.billed_usd, -month_usd])
    for cell in found.cells:
        assert sum_usd(cell.buckets.values()) == cell.gap_usd
        assert 0 <= cell.covered_usd <= max(cell.billed_usd, Decimal(0))
    assert sum_usd(cell.metered_usd for cell in found.cells) == sum_usd(row.usd for row in rows)


@given(_LINES, _ROWS, st.randoms(use_true_random=False))
def test_order_changes_nothing(lines: list[Billed], rows: list[Metered], random: object) -> None:
    found = gap(lines, rows)
    random.shuffle(lines)  # type: ignore[attr-defined]
    random.shuffle(rows)  # type: ignore[attr-defined]
    assert gap(lines, rows) == found


@given(_LINES.filter(bool), _ROWS, st.data())
def test_splitting_a_line_changes_nothing(lines: list[Billed], rows: list[Metered], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(lines) - 1))
    line = lines[index]
    usd, exchange = (data.draw(st.integers(-(10**13), 10**13)) for _ in range(2))
    count = None if line.quantity is None else data.draw(st.integers(-50, 50))
    one = replace(line, usd=usd_from_pico(usd), exchange_usd=usd_from_pico(exchange), quantity=count)
    other = replace(
        line,
        usd=sum_usd([line.usd, -one.usd]),
        exchange_usd=sum_usd([line.exchange_usd, -one.exchange_usd]),
        quantity=None if line.quantity is None else line.quantity - (count or 0),
    )
    assert gap([*lines[:index], one, other, *lines[index + 1 :]], rows) == gap(lines, rows)
