"""Fees, grants and credits: exact by the hour and the day, and nothing is taken off twice."""

from collections import defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import split
from apps.core.periods import Calendar, next_month
from apps.pricing.commitments import UsageDay, draw, fee
from apps.pricing.contracts import Term

UTC_CLOCK = Calendar([(None, "UTC")])
BERLIN = Calendar([(None, "Europe/Berlin")])
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
USD = 10**12
MODEL = frozenset({"m"})


def a_term(kind, amount, **fields):
    return Term(**{"id": 1, "kind": kind, "starts_at": JUNE, "amount_usd": Decimal(amount), **fields})


class TestSplit:
    @given(st.integers(0, 10**30), st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
    def test_parts_add_up_and_none_is_a_whole_unit_off(self, total, weights):
        whole = sum(weights)
        if not whole:
            assert split(0, weights) == [0] * len(weights)
            return
        parts = split(total, weights)
        assert sum(parts) == total
        assert all(abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True))

    def test_there_must_be_something_to_split_by(self):
        with pytest.raises(ValueError, match="nothing to split by"):
            split(1, [0, 0])


class TestFees:
    def test_throughput_is_by_the_hour(self):
        term = a_term("throughput", "2.5", quantity=4)
        assert fee(term, date(2026, 6, 1), UTC_CLOCK) == 10 * 30 * 24 * USD
        assert fee(term, date(2026, 5, 1), UTC_CLOCK) == 0

    def test_a_part_of_an_hour_is_due_by_its_seconds(self):
        term = a_term("throughput", "3", ends_at=JUNE + timedelta(minutes=90))
        assert fee(term, date(2026, 6, 1), UTC_CLOCK) == 4_500_000_000_000

    def test_a_month_in_which_clocks_change_has_its_own_hours(self):
        term = a_term("throughput", "1", starts_at=datetime(2026, 1, 1, tzinfo=UTC))
        assert fee(term, date(2026, 3, 1), BERLIN) == (31 * 24 - 1) * USD
        assert fee(term, date(2026, 10, 1), BERLIN) == (31 * 24 + 1) * USD

    def test_seats_are_by_the_day_and_a_month_is_whole(self):
        term = a_term("seats", "10", quantity=7)
        assert fee(term, date(2026, 6, 1), UTC_CLOCK) == 70 * USD
        from_the_16th = a_term("seats", "10", quantity=7, starts_at=JUNE + timedelta(days=15))
        # The remainder of thirty equal days goes to the first ones.
        assert fee(from_the_16th, date(2026, 6, 1), UTC_CLOCK) == 15 * (70 * USD // 30)

    @given(st.integers(1, 29), st.integers(1, 10**16))
    def test_one_term_after_another_costs_what_one_does(self, day, pico):
        amount = Decimal(pico).scaleb(-12)
        change = JUNE + timedelta(days=day)
        before = Term(1, "seats", JUNE, change, amount_usd=amount)
        after = Term(2, "seats", change, amount_usd=amount)
        assert fee(before, date(2026, 6, 1), UTC_CLOCK) + fee(after, date(2026, 6, 1), UTC_CLOCK) == pico


days = st.integers(0, 80)
rows = st.lists(
    st.tuples(
        days, st.sampled_from(["red", "blue", None]), st.sampled_from(["openai", "anthropic"]), st.integers(0, 10**14)
    ),
    max_size=40,
)
allowances = st.lists(
    st.builds(
        Term,
        id=st.integers(1, 10**6),
        kind=st.sampled_from(["grant", "credit"]),
        starts_at=st.integers(-10, 80).map(lambda day: JUNE + timedelta(days=day)),
        amount_usd=st.integers(0, 10**14).map(lambda pico: Decimal(pico).scaleb(-12)),
        provider=st.sampled_from(["", "openai"]),
        monthly=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda term: term.id,
)


def next_day(day):
    return day + timedelta(days=1)


def sorted_by_term(drawn):
    return sorted((one.term.id, one.booked_month, one.team or "", one.cost_pico) for one in drawn)


def usage_of(drawn):
    for day, team, provider, pico in drawn:
        at = JUNE + timedelta(days=day)
        yield UsageDay(at.date().replace(day=1), at, team, provider, MODEL, pico)


class TestDraw:
    def test_grants_before_credits_and_what_ends_first_first(self):
        terms = [
            a_term("credit", "5", id=1),
            a_term("grant", "1", id=2),
            a_term("credit", "2", id=3, ends_at=JUNE + timedelta(days=60)),
        ]
        found = draw(terms, [UsageDay(date(2026, 6, 1), JUNE, "red", "openai", MODEL, 4 * USD)], UTC_CLOCK)
        assert {drawn.term.id: drawn.cost_pico for drawn in found} == {2: USD, 3: 2 * USD, 1: USD}

    def test_a_monthly_grant_renews_and_what_is_unused_lapses(self):
        usage = [
            UsageDay(month, datetime(month.year, month.month, 3, tzinfo=UTC), "red", "openai", MODEL, pico * USD)
            for month, pico in ((date(2026, 6, 1), 1), (date(2026, 7, 1), 9), (date(2026, 8, 1), 9))
        ]
        found = draw([a_term("grant", "4", monthly=True)], usage, UTC_CLOCK)
        assert [(drawn.booked_month.month, drawn.cost_pico // USD) for drawn in found] == [(6, 1), (7, 4), (8, 4)]

    @given(allowances, rows)
    def test_never_more_than_there_is_on_either_side(self, terms, drawn):
        usage = list(usage_of(drawn))
        found = draw(terms, usage, UTC_CLOCK)
        assert all(one.cost_pico > 0 for one in found)
        for term in terms:
            for month in {row.booked_month for row in usage}:
                taken = sum(
                    o.cost_pico for o in found if o.term is term and (o.booked_month == month or not term.monthly)
                )
                assert taken <= int(term.amount_usd.scaleb(12))
        for team in {row.team for row in usage}:
            for month in {row.booked_month for row in usage}:
                spent = sum(row.cost_pico for row in usage if (row.team, row.booked_month) == (team, month))
                assert sum(o.cost_pico for o in found if (o.team, o.booked_month) == (team, month)) <= spent

    @given(allowances, rows)
    def test_a_later_month_never_changes_an_earlier_one(self, terms, drawn):
        usage = list(usage_of(drawn))
        cut = next_month(date(2026, 6, 1))
        early = [row for row in usage if row.booked_month < cut]
        found = draw(terms, usage, UTC_CLOCK)
        assert [o for o in found if o.booked_month < cut] == draw(terms, early, UTC_CLOCK)

    @given(allowances, rows)
    def test_no_usage_is_left_unpaid_beside_what_could_pay_it(self, terms, drawn):
        usage = [row for row in usage_of(drawn) if row.day_start < next_day(JUNE)]
        able = [term for term in terms if not term.provider and term.starts_at < next_day(JUNE)]
        free = sum(int(term.amount_usd.scaleb(12)) for term in able)
        taken = draw(able, usage, UTC_CLOCK)
        assert sum(one.cost_pico for one in taken) == min(free, sum(row.cost_pico for row in usage))

    @given(allowances, rows)
    def test_models_of_a_team_share_as_the_team_does(self, terms, drawn):
        terms = [replace(term, provider="") for term in terms]
        days = defaultdict(int)
        for row in usage_of(drawn):
            days[row.booked_month, row.day_start, row.team] += row.cost_pico
        whole = [UsageDay(*key, "", MODEL, pico) for key, pico in days.items()]
        assert sorted_by_term(draw(terms, usage_of(drawn), UTC_CLOCK)) == sorted_by_term(draw(terms, whole, UTC_CLOCK))

    def test_teams_share_by_largest_remainder_the_unattributed_first(self):
        usage = [
            UsageDay(JUNE.date(), JUNE, team, "openai", MODEL, USD)
            for team in ("red", None, "blue")
            for _ in range(2)  # two models of each team
        ]
        found = draw([Term(1, "grant", JUNE, amount_usd=Decimal("0.000000000010"))], usage, UTC_CLOCK)
        assert [(one.team, one.cost_pico) for one in found] == [(None, 4), ("blue", 3), ("red", 3)]

    @pytest.mark.parametrize("noon", [datetime(2026, 3, 29, 12, tzinfo=UTC), datetime(2026, 10, 25, 12, tzinfo=UTC)])
    def test_a_day_on_which_clocks_change_ends_where_the_next_begins(self, noon):
        today, tomorrow = BERLIN.day(noon), BERLIN.day(noon + timedelta(days=1))
        usage = [UsageDay(BERLIN.month_of(noon), today, "red", "openai", MODEL, USD)]
        for start, taken in ((tomorrow, 0), (tomorrow - timedelta(seconds=1), USD)):
            found = draw([a_term("grant", "5", starts_at=start)], usage, BERLIN)
            assert sum(one.cost_pico for one in found) == taken
        for end, taken in ((today, 0), (today + timedelta(seconds=1), USD)):
            found = draw([a_term("grant", "5", starts_at=JUNE - timedelta(days=365), ends_at=end)], usage, BERLIN)
            assert sum(one.cost_pico for one in found) == taken
