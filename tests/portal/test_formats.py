"""How numbers and times read."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.portal import formats
from apps.portal.templatetags import numbers

T = formats.THIN
M = formats.MINUS
AMOUNTS = st.decimals(min_value=Decimal("-1e24"), max_value=Decimal("1e24"), places=12)


@pytest.mark.parametrize(
    ("usd", "shown"),
    [
        (None, "unpriced"),
        ("0", "0"),
        ("0.000000000000", "0"),
        ("1", "1.00"),
        ("1.2346", "1.23"),
        ("12.345", "12.34"),
        ("12.355", "12.36"),
        ("1234567.891", f"1{T}234{T}567.89"),
        ("0.5", "0.5000"),
        ("0.0012345", "0.001234"),
        ("0.99994", "0.9999"),
        ("0.99999", "1.00"),
        ("0.000000000001", "0.000000000001"),
        ("-12.3", f"{M}12.30"),
        ("-0.00012", f"{M}0.0001200"),
    ],
)
def test_money_has_cents_from_one_dollar_up_and_four_digits_below(usd: str | None, shown: str) -> None:
    assert formats.money(None if usd is None else Decimal(usd)) == shown


def test_zero_none_and_unknown_look_different() -> None:
    assert len({formats.money(Decimal(0)), formats.money(None), formats.tokens(None)}) == 3


@given(AMOUNTS)
def test_what_is_not_nothing_never_reads_zero(usd: Decimal) -> None:
    assert (formats.money(usd) == "0") == (usd == 0)


@given(AMOUNTS)
def test_the_exact_value_loses_nothing(usd: Decimal) -> None:
    shown = formats.exact_money(usd).removesuffix(f"{T}USD").replace(T, "").replace(M, "-")
    assert Decimal(shown) == usd


@pytest.mark.parametrize(
    ("amount", "shown"), [(None, "—"), ("3.000000", "3"), ("0.300000", "0.3"), ("1500", f"1{T}500")]
)
def test_digits_are_all_there_without_padding(amount: str | None, shown: str) -> None:
    assert formats.digits(None if amount is None else Decimal(amount)) == shown


@pytest.mark.parametrize(
    ("quantity", "shown"),
    [
        (None, "—"),
        (0, "0"),
        (999, "999"),
        (1000, f"1.0{T}k"),
        (12_345, f"12.3{T}k"),
        (999_949, f"999.9{T}k"),
        (999_950, f"1.0{T}M"),
        (1_234_567, f"1.2{T}M"),
        (-1_234_567, f"{M}1.2{T}M"),
        (10**9, f"1.0{T}B"),
        (10**12, f"1.0{T}T"),
        (10**16, f"10{T}000.0{T}T"),
    ],
)
def test_tokens_are_short(quantity: int | None, shown: str) -> None:
    assert formats.tokens(quantity) == shown


@pytest.mark.parametrize(
    ("part", "whole", "shown"),
    [
        (1, 3, f"33.3{T}%"),
        (0, 3, f"0{T}%"),
        (3, 3, f"100.0{T}%"),
        (1, 10_000_000, f"<{T}0.1{T}%"),
        (9_999_999, 10_000_000, f">{T}99.9{T}%"),
        (1, 0, "—"),
        (None, 3, "—"),
        (1, None, "—"),
        (Decimal("-1"), Decimal("8"), f"{M}12.5{T}%"),
    ],
)
def test_a_share_never_rounds_to_nothing_or_to_all(
    part: Decimal | int | None, whole: Decimal | int | None, shown: str
) -> None:
    assert formats.share(part, whole) == shown


@pytest.mark.parametrize(
    ("now", "before", "direction", "text"),
    [
        ("2700", "2288", "up", f"+$412 (+18{T}%)"),
        ("1", "3", "down", f"{M}$2.00 ({M}67{T}%)"),
        ("5", "5", "same", "no change"),
        ("5", "0", "up", "+$5.00 (new)"),
        ("1000.01", "1000", "up", f"+$0.01000 (+<{T}0.1{T}%)"),
        ("5000", "1", "up", f"+$4{T}999 (+>{T}999{T}%)"),
        ("0", "12", "down", f"{M}$12.00 ({M}100{T}%)"),
    ],
)
def test_a_change_names_its_direction_in_words_and_an_arrow(now: str, before: str, direction: str, text: str) -> None:
    change = formats.change(Decimal(now), Decimal(before))
    assert change is not None
    assert (change.direction, change.text) == (direction, text)
    assert change.arrow == {"up": "↑", "down": "↓", "same": "→"}[direction]


@pytest.mark.parametrize(("now", "before"), [(None, Decimal(1)), (Decimal(1), None)])
def test_a_change_from_or_to_the_unknown_is_unknown(now: Decimal | None, before: Decimal | None) -> None:
    assert formats.change(now, before) is None


AT = datetime(2026, 11, 24, 10, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("gap", "shown"),
    [
        (timedelta(seconds=2), "just now"),
        (timedelta(seconds=48), f"48{T}s ago"),
        (timedelta(minutes=3), f"3{T}min ago"),
        (timedelta(hours=47), f"47{T}h ago"),
        (timedelta(days=2), f"2{T}d ago"),
        (timedelta(days=14), "10 Nov 2026"),
        (timedelta(minutes=-3), f"in 3{T}min"),
    ],
)
def test_times_are_relative_until_a_date_says_more(gap: timedelta, shown: str) -> None:
    assert formats.age(AT - gap, AT) == shown


def test_an_instant_is_told_in_the_zone_of_the_organization() -> None:
    assert formats.instant(AT, "Europe/Berlin") == "24 Nov 2026, 11:00:00 CET"
    assert formats.clock(AT, "America/New_York") == "24 Nov, 05:00:00"


def test_a_short_number_carries_the_exact_one() -> None:
    assert numbers.money(Decimal("1234.5678")) == (f'<span class="n" data-exact="1{T}234.5678{T}USD">1{T}234.57</span>')
    assert numbers.tokens(1_234_567) == (f'<span class="n" data-exact="1{T}234{T}567">1.2{T}M</span>')


def test_a_number_that_is_exact_carries_nothing_else() -> None:
    assert numbers.money(Decimal(0)) == '<span class="n">0</span>'
    assert numbers.tokens(402) == '<span class="n">402</span>'


def test_unpriced_says_that_the_cost_is_unknown() -> None:
    assert "the cost is unknown" in numbers.money(None)


@pytest.mark.parametrize(("ratio", "width"), [(None, "0.0%"), ("0.125", "12.5%"), ("1.5", "100.0%"), ("-0.2", "0.0%")])
def test_a_bar_stays_in_its_cell(ratio: str | None, width: str) -> None:
    assert numbers.bar(None if ratio is None else Decimal(ratio)) == width


@pytest.mark.parametrize(
    ("length", "shown"),
    [
        (timedelta(0), f"0{T}ms"),
        (timedelta(milliseconds=850), f"850{T}ms"),
        (timedelta(seconds=3.24), f"3.2{T}s"),
        (timedelta(seconds=10), f"10{T}s"),
        (timedelta(minutes=1), f"1{T}min"),
        (timedelta(minutes=4, seconds=12), f"4{T}min 12{T}s"),
        (timedelta(hours=2, minutes=5, seconds=59), f"2{T}h 5{T}min"),
        (timedelta(hours=1, seconds=59), f"1{T}h"),
        (timedelta(days=3, hours=4, minutes=59), f"3{T}d 4{T}h"),
    ],
)
def test_a_length_of_time_is_said_in_its_two_largest_units(length: timedelta, shown: str) -> None:
    assert formats.duration(length) == shown
