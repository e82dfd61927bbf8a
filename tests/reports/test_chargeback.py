"""Pools of shared cost: who bears what, exactly."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.reports import chargeback
from apps.reports.chargeback import (
    BASES,
    CENTRAL,
    DRIVERS,
    HUNDRED_PERCENT,
    METHODS,
    SOURCES,
    Allocation,
    ContractLine,
    Pool,
    Share,
    TeamUse,
    allocate,
    faults,
    in_currency,
    split_amount,
)

USD = 10**12
M = 1_000_000

Parts = list[tuple[str, str | None, int]]


def use(team: str | None, usd: int, other: int = 0, **drivers: int) -> TeamUse:
    return TeamUse(team, usd * USD, other * USD, {"events": 1, **drivers}, {7: drivers})


def parts_of(allocated: Allocation) -> Parts:
    """(kind, team, whole USD) of every share."""
    return [(share.kind, share.team, share.pico // USD) for share in allocated.shares]


def totals(
    uses: Sequence[TeamUse], lines: Sequence[ContractLine], allocated: Allocation | None = None
) -> dict[str | None, int]:
    """What each statement comes to, before pools or by them."""
    found = chargeback.totals(uses, lines, allocated or Allocation((), frozenset()))
    return defaultdict(int, found)


# --- the worked statement --------------------------------------------------------------------------------

COMPANY = [
    TeamUse("support", 42_000 * USD, of_contract={1: {"tokens": 6_600}}),
    TeamUse("search", 18_000 * USD, of_contract={1: {"tokens": 1_800}}),
    TeamUse("growth", 9_000 * USD),
    TeamUse("r-and-d", 6_000 * USD),
    TeamUse(None, 3_750 * USD),
]
AGREED = [
    ContractLine(1, "throughput", None, 12_000 * USD),
    ContractLine(2, "credit", "support", -3_000 * USD),
    ContractLine(2, "credit", None, -1_000 * USD),
    ContractLine(3, "seats", "support", 1_200 * USD),
    ContractLine(4, "seats", "r-and-d", 750 * USD),
]
POLICY = [
    Pool(1, "Provisioned", "contract", "usage", contract_id=1, driver="tokens", capacity=12_000),
    Pool(2, "Platform", "amount", "proportional", amount_pico=6_000 * USD),
    Pool(3, "Credits", "contract", "proportional", contract_id=2, base="direct_and_throughput"),
]


def test_the_worked_statement_comes_out_to_the_cent() -> None:
    allocated = allocate(POLICY, COMPANY, AGREED)
    amounts: dict[tuple[str | None, str], Decimal] = dict(
        zip(
            [(share.team, share.kind) for share in allocated.shares],
            in_currency(allocated.shares, Decimal(1), 2),
            strict=True,
        )
    )
    assert amounts == {
        ("support", "throughput"): Decimal("6600.00"),
        ("search", "throughput"): Decimal("1800.00"),
        ("support", "throughput_idle"): Decimal("2828.57"),
        ("search", "throughput_idle"): Decimal("771.43"),
        ("support", "shared"): Decimal("3360.00"),
        ("search", "shared"): Decimal("1440.00"),
        ("growth", "shared"): Decimal("720.00"),
        ("r-and-d", "shared"): Decimal("480.00"),
        ("support", "credit"): Decimal("-2330.94"),
        ("search", "credit"): Decimal("-949.64"),
        ("growth", "credit"): Decimal("-431.65"),
        ("r-and-d", "credit"): Decimal("-287.77"),
    }
    by_team: dict[str | None, Decimal] = defaultdict(Decimal)
    for (team, _), amount in amounts.items():
        by_team[team] += amount
    for one in COMPANY:
        by_team[one.team] += Decimal(one.direct_pico) / USD
    by_team["support"] += 1_200
    by_team["r-and-d"] += 750
    assert by_team == {
        "support": Decimal("53657.63"),
        "search": Decimal("21061.79"),
        "growth": Decimal("9288.35"),
        "r-and-d": Decimal("6942.23"),
        None: Decimal("3750.00"),
    }
    assert sum(by_team.values()) == Decimal("94700.00")
    assert sum(totals(COMPANY, AGREED, allocated).values()) == 94_700 * USD


def test_contracts_with_a_pool_are_replaced_and_others_stay() -> None:
    assert allocate(POLICY, COMPANY, AGREED).replaced == {1, 2}


# --- every source, every method --------------------------------------------------------------------------

USES = [use("api", 30, tokens=10), use("beta", 60, tokens=30), use("platform", 10, other=2), use(None, 90, tokens=99)]
LINES = [
    ContractLine(7, "seats", "api", 25 * USD),
    ContractLine(7, "seats", None, 75 * USD),
    ContractLine(8, "seats", "platform", 8 * USD),
]
# Of 100 USD, by method: even counts the platform unless its cost is what is shared.
PARTS = {
    "direct": [("beta", 100)],
    "usage": [("api", 25), ("beta", 75)],
    "proportional": [("api", 30), ("beta", 60), ("platform", 10)],
    "fixed": [("api", 80), ("beta", 20)],
    "even": [("api", 33), ("beta", 33), ("platform", 33)],
    "central": [(None, 100)],
}
BY_METHOD = {
    "direct": {"to_team": "beta"},
    "usage": {"driver": "tokens"},
    "fixed": {"percents": {"api": 80 * M, "beta": 20 * M}},
}


def pool(source: str, method: str, **changes: object) -> Pool:
    by_source = {
        "amount": {"amount_pico": 100 * USD},
        "team": {"team": "platform"},
        "contract": {"contract_id": 7},
        "unattributed": {},
    }
    return Pool(
        **{"id": 5, "name": "A pool", "source": source, "method": method}
        | by_source[source]
        | BY_METHOD.get(method, {})
        | changes
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("method", METHODS)
def test_an_amount_is_added(method: str) -> None:
    allocated = allocate([pool("amount", method)], USES, LINES)
    assert parts_of(allocated) == [("shared", team, usd) for team, usd in PARTS[method]]
    assert sum(share.pico for share in allocated.shares) == 100 * USD
    assert not allocated.replaced


@pytest.mark.parametrize("method", METHODS)
def test_a_contracts_lines_are_replaced(method: str) -> None:
    allocated = allocate([pool("contract", method)], USES, LINES)
    assert parts_of(allocated) == [("seats", team, usd) for team, usd in PARTS[method]]
    assert allocated.replaced == {7}
    assert {share.source for share in allocated.shares} == {"contract:7"}


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("direct", [("beta", 20)]),
        ("usage", [("api", 5), ("beta", 15)]),
        ("proportional", [("api", 6), ("beta", 13)]),
        ("fixed", [("api", 16), ("beta", 4)]),
        ("even", [("api", 10), ("beta", 10)]),
        ("central", [(None, 20)]),
    ],
)
def test_all_of_a_teams_statement_is_moved(method: str, parts: list[tuple[str | None, int]]) -> None:
    allocated = allocate([pool("team", method)], USES, LINES)
    assert parts_of(allocated) == [("shared", "platform", -20), *(("shared", team, usd) for team, usd in parts)]
    assert totals(USES, LINES, allocated)["platform"] == 0
    assert allocated.shares[0].is_taken
    assert allocated.shares[0].share is None


@pytest.mark.parametrize(
    ("method", "parts"),
    [
        ("direct", [("beta", 90)]),
        ("usage", [("api", 22), ("beta", 67)]),
        ("proportional", [("api", 27), ("beta", 54), ("platform", 9)]),
        ("fixed", [("api", 72), ("beta", 18)]),
        ("even", [("api", 30), ("beta", 30), ("platform", 30)]),
    ],
)
def test_unattributed_usage_is_spread(method: str, parts: list[tuple[str, int]]) -> None:
    allocated = allocate([pool("unattributed", method)], USES, LINES)
    assert parts_of(allocated) == [("shared", None, -90), *(("shared", team, usd) for team, usd in parts)]
    # What contracts left on the statement without a team is no usage.
    assert totals(USES, LINES, allocated)[None] == 75 * USD


def test_unattributed_usage_stays_where_it_is_when_it_is_central() -> None:
    assert allocate([pool("unattributed", "central")], USES, LINES).shares == ()


@pytest.mark.parametrize("source", ["amount", "contract", "team"])
def test_where_every_weight_is_0_a_pool_stays_central(source: str) -> None:
    allocated = allocate([pool(source, "usage", driver="searches")], USES, LINES)
    last = allocated.shares[-1]
    assert (last.team, last.driver, last.share) == (None, CENTRAL, None)
    assert sum(totals(USES, LINES, allocated).values()) == sum(totals(USES, LINES).values()) + (
        100 * USD if source == "amount" else 0
    )


def test_a_contract_without_lines_and_a_team_without_cost_give_nothing() -> None:
    nothing = [pool("contract", "even", contract_id=99), pool("team", "even", team="nobody")]
    assert allocate(nothing, USES, LINES) == Allocation((), frozenset())


def test_negative_use_weighs_nothing() -> None:
    corrected = [TeamUse("api", -5 * USD), TeamUse("beta", 5 * USD)]
    assert parts_of(allocate([pool("amount", "proportional")], corrected, [])) == [("shared", "beta", 100)]


def test_of_equal_remainders_the_first_by_name_is_given_the_rest() -> None:
    allocated = allocate([pool("amount", "even", amount_pico=100)], [use("b", 1), use("c", 1), use("a", 1)], [])
    assert [(share.team, share.pico) for share in allocated.shares] == [("a", 34), ("b", 33), ("c", 33)]


# --- order -----------------------------------------------------------------------------------------------


def test_a_team_shares_what_earlier_pools_gave_it_and_gets_nothing_of_later_ones() -> None:
    licence = pool("amount", "even", id=1, amount_pico=30 * USD)
    platform = pool("team", "proportional", id=2)
    late = pool("amount", "even", id=3, amount_pico=30 * USD)
    allocated = allocate([licence, platform, late], USES, LINES)
    taken = next(share for share in allocated.shares if share.is_taken)
    assert taken.pico == -30 * USD
    assert totals(USES, LINES, allocated)["platform"] == 0
    assert not [share for share in allocated.shares if share.pool_id == 3 and share.team == "platform"]


def test_order_matters() -> None:
    licence, platform = pool("amount", "even", id=1), pool("team", "proportional", id=2)
    one, other = (allocate(order, USES, LINES) for order in ([licence, platform], [platform, licence]))
    assert totals(USES, LINES, one) != totals(USES, LINES, other)
    assert sum(totals(USES, LINES, one).values()) == sum(totals(USES, LINES, other).values())


def test_a_contract_with_a_pool_of_its_own_is_no_cost_of_its_team() -> None:
    seats = pool("contract", "direct", id=2, contract_id=8)
    for order in ([pool("team", "even", id=1), seats], [seats, pool("team", "even", id=1)]):
        allocated = allocate(order, USES, LINES)
        assert next(share for share in allocated.shares if share.is_taken).pico == -12 * USD
        assert totals(USES, LINES, allocated)["platform"] == 0


@pytest.mark.parametrize(
    ("pools", "codes"),
    [
        ([pool("amount", "even", id=1), pool("amount", "even", id=2)], []),
        ([pool("amount", "direct", id=1, to_team="platform"), pool("team", "even", id=2)], []),
        ([pool("team", "even", id=1), pool("amount", "direct", id=2, to_team="platform")], ["pool_cycle"]),
        ([pool("team", "fixed", percents={"platform": M, "api": 99 * M})], ["pool_cycle"]),
        ([pool("team", "even", id=1), pool("team", "even", id=2)], ["pool_source_taken"]),
        ([pool("contract", "even", id=1), pool("contract", "usage", id=2)], ["pool_source_taken"]),
        ([pool("contract", "even", id=1), pool("contract", "even", id=2, contract_id=8)], []),
        ([pool("unattributed", "even", id=1), pool("unattributed", "usage", id=2)], ["pool_source_taken"]),
        (
            [
                pool("team", "direct", id=1, team="api", to_team="beta"),
                pool("team", "direct", id=2, team="beta", to_team="api"),
            ],
            ["pool_cycle"],
        ),
    ],
)
def test_circles_and_sources_shared_twice_are_found(pools: list[Pool], codes: list[str]) -> None:
    assert [fault.code for fault in faults(pools)] == codes


# --- throughput ------------------------------------------------------------------------------------------

FEE = [ContractLine(7, "throughput", "platform", 100 * USD)]


@pytest.mark.parametrize(
    ("capacity", "parts"),
    [
        (
            80,
            [
                ("throughput", "api", 12.5),
                ("throughput", "beta", 37.5),
                ("throughput_idle", "api", 12.5),
                ("throughput_idle", "beta", 37.5),
            ],
        ),
        (40, [("throughput", "api", 25), ("throughput", "beta", 75)]),
        # Used beyond what was bought: nothing is idle, and the fee is shared by use.
        (20, [("throughput", "api", 25), ("throughput", "beta", 75)]),
        (None, [("throughput", "api", 25), ("throughput", "beta", 75)]),
    ],
)
def test_a_fee_is_shared_by_use_of_capacity(capacity: int | None, parts: list[tuple[str, str, float]]) -> None:
    allocated = allocate([pool("contract", "usage", capacity=capacity)], USES, FEE)
    assert [(share.kind, share.team, share.pico / USD) for share in allocated.shares] == parts
    assert totals(USES, FEE, allocated)["platform"] == 12 * USD


def test_a_fee_of_which_nothing_is_used_is_idle_where_the_contract_is() -> None:
    idle = pool("contract", "usage", driver="searches", capacity=80)
    (share,) = allocate([idle], USES, FEE).shares
    assert (share.kind, share.team, share.pico, share.share) == ("throughput_idle", "platform", 100 * USD, 1)
    after = allocate([pool("team", "even", id=1), idle], USES, FEE).shares[-1]
    assert (after.kind, after.team) == ("throughput_idle", None)


def test_only_calls_that_the_contract_covers_count() -> None:
    uses = [
        TeamUse("api", drivers={"tokens": 900}, of_contract={7: {"tokens": 10}}),
        TeamUse("beta", drivers={"tokens": 5}),
    ]
    (share,) = allocate([pool("contract", "usage")], uses, FEE).shares
    assert (share.team, share.weight, share.whole) == ("api", 10, 10)


# --- words and shares ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share", "says", "part"),
    [
        (Share(1, None, "shared", "a", 1, "tokens", 1_200_000, 4_000_000), "tokens 1,200,000 of 4,000,000", "0.3"),
        (Share(1, None, "shared", "a", 1, "even", 1, 3), "even 1 of 3", "0.333333333333"),
        (Share(1, None, "shared", "a", 1, "fixed", 62_500_000, HUNDRED_PERCENT), "fixed 62.5 of 100 %", "0.625"),
        (Share(1, None, "shared", "a", 1, "direct", 1, 1), "direct", "1"),
        (Share(1, None, "shared", None, 1, "central"), "central", None),
        (Share(1, None, "shared", "a", -1, is_taken=True), "shared out", None),
        (
            Share(1, None, "credit", "a", 1, "direct_usage", 42_000 * USD, 75_000 * USD),
            "direct usage 42,000.00 of 75,000.00 USD",
            "0.56",
        ),
        (
            Share(1, None, "credit", "a", 1, "direct_and_throughput", 486 * USD // 10, 834 * USD // 10),
            "direct usage and throughput 48.60 of 83.40 USD",
            "0.582733812950",
        ),
        (Share(1, None, "shared", "a", 1, "cache_read_tokens", 1, 8), "cache read tokens 1 of 8", "0.125"),
    ],
)
def test_a_share_says_its_driver_and_its_part(share: Share, says: str, part: str | None) -> None:
    assert share.driver_text == says
    assert share.share == (None if part is None else Decimal(part))


# --- laws ------------------------------------------------------------------------------------------------

TEAMS = ("api", "beta", "core", "data", "edge")
amounts = st.integers(-(10**20), 10**20)
counts = st.dictionaries(st.sampled_from(["events", "runs", "tokens", "searches"]), st.integers(0, 10**15))


@st.composite
def uses_of_a_month(draw: st.DrawFn) -> list[TeamUse]:
    teams = draw(st.lists(st.sampled_from([*TEAMS, None]), unique=True))
    contracts = st.dictionaries(st.integers(1, 4), counts)
    return [TeamUse(team, draw(amounts), draw(amounts), draw(counts), draw(contracts)) for team in teams]


@st.composite
def contract_lines(draw: st.DrawFn) -> list[ContractLine]:
    """One throughput fee, one seats fee, a grant and a credit over several teams."""
    place = st.sampled_from([*TEAMS, None])
    fees = [
        ContractLine(id, kind, draw(place), draw(st.integers(0, 10**20)))
        for id, kind in ((1, "throughput"), (2, "seats"))
    ]
    taken = [
        ContractLine(id, kind, team, -draw(st.integers(0, 10**20)))
        for id, kind in ((3, "grant"), (4, "credit"))
        for team in draw(st.lists(place, unique=True))
    ]
    return [*fees, *taken]


@st.composite
def policies(draw: st.DrawFn) -> list[Pool]:
    team = st.sampled_from(TEAMS)
    found: list[Pool] = []
    for id in range(1, draw(st.integers(0, 7)) + 1):
        cut = draw(st.integers(0, HUNDRED_PERCENT))
        one = Pool(
            id,
            f"pool {id}",
            draw(st.sampled_from(SOURCES)),
            draw(st.sampled_from(METHODS)),
            amount_pico=draw(amounts),
            team=draw(team),
            contract_id=draw(st.integers(1, 4)),
            to_team=draw(team),
            driver=draw(st.sampled_from(DRIVERS[:4])),
            base=draw(st.sampled_from(BASES)),
            percents={"api": cut, "beta": HUNDRED_PERCENT - cut},
            capacity=draw(st.none() | st.integers(1, 10**15)),
        )
        if not list(faults([*found, one])):
            found.append(one)
    return found


months = st.tuples(policies(), uses_of_a_month(), contract_lines())
Month = tuple[list[Pool], list[TeamUse], list[ContractLine]]


@given(months)
def test_nothing_is_lost_and_amounts_add_exactly_themselves(month: Month) -> None:
    pools, uses, lines = month
    allocated = allocate(pools, uses, lines)
    added = sum(pool.amount_pico for pool in pools if pool.source == "amount")
    assert sum(totals(uses, lines, allocated).values()) == sum(totals(uses, lines).values()) + added


@given(months)
def test_each_pool_gives_exactly_what_it_takes(month: Month) -> None:
    pools, uses, lines = month
    allocated = allocate(pools, uses, lines)
    for one in pools:
        shares = [share for share in allocated.shares if share.pool_id == one.id]
        due = {"amount": one.amount_pico, "contract": sum(x.pico for x in lines if x.contract_id == one.contract_id)}
        assert sum(share.pico for share in shares) == due.get(one.source, 0)
        assert len({share.pico > 0 for share in shares if not share.is_taken}) <= 1


@given(months)
def test_a_team_that_is_shared_is_left_with_nothing(month: Month) -> None:
    pools, uses, lines = month
    after = totals(uses, lines, allocate(pools, uses, lines))
    assert not [one.team for one in pools if one.source == "team" and after[one.team]]


@given(months)
def test_the_statement_without_a_team_gets_what_is_central_alone(month: Month) -> None:
    for share in allocate(*month).shares:
        assert share.team is not None or share.is_taken or share.driver == CENTRAL or share.kind == "throughput_idle"


@given(months, st.randoms(use_true_random=False))
def test_the_order_of_teams_and_lines_is_of_no_account(month: Month, random: object) -> None:
    pools, uses, lines = month
    once = allocate(pools, uses, lines)
    random.shuffle(uses)  # type: ignore[attr-defined]
    random.shuffle(lines)  # type: ignore[attr-defined]
    assert allocate(pools, uses, lines) == once


@given(months, st.fractions(min_value=Fraction(1, 1000), max_value=1000), st.sampled_from([0, 2, 3]))
def test_parts_add_up_on_paper_too(month: Month, rate: Fraction, decimals: int) -> None:
    """In JPY, USD and KWD alike, and within one unit of what is exact."""
    pools, uses, lines = month
    per_usd = Decimal(rate.numerator) / rate.denominator
    shares = allocate(pools, uses, lines).shares
    amounts = in_currency(shares, per_usd, decimals)
    step = Decimal(1).scaleb(-decimals)
    by_pool: dict[int, Decimal] = defaultdict(Decimal)
    whole: dict[int, int] = defaultdict(int)
    for share, amount in zip(shares, amounts, strict=True):
        assert amount.as_tuple().exponent == -decimals
        by_pool[share.pool_id] += amount
        whole[share.pool_id] += share.pico
        assert abs(Fraction(amount) - Fraction(share.pico, USD) * Fraction(per_usd)) <= 2 * step
    for pool_id, total in by_pool.items():
        assert abs(Fraction(total) - Fraction(whole[pool_id], USD) * Fraction(per_usd)) <= Fraction(step) / 2


@given(months)
def test_what_every_share_says_is_a_part_of_one(month: Month) -> None:
    by_whole: dict[tuple[int, str], Fraction] = defaultdict(Fraction)
    for share in allocate(*month).shares:
        if share.whole:
            assert 0 < share.weight <= share.whole
            by_whole[share.pool_id, share.kind] += Fraction(share.weight, share.whole)
    assert all(total <= 1 for total in by_whole.values())


@given(amounts, st.lists(st.integers(0, 10**15), min_size=1).filter(any))
def test_a_negative_whole_is_split_as_its_opposite_is(total: int, weights: list[int]) -> None:
    parts = split_amount(total, weights)
    assert sum(parts) == total
    assert parts == [-part for part in split_amount(-total, weights)]


@pytest.mark.parametrize(
    ("decimals", "expected"),
    [(0, ["34", "33", "33"]), (2, ["33.34", "33.33", "33.33"]), (3, ["33.334", "33.333", "33.333"])],
)
def test_a_currency_has_its_own_decimals(decimals: int, expected: list[str]) -> None:
    shares = allocate([pool("amount", "even")], USES, LINES).shares
    assert [str(amount) for amount in in_currency(shares, Decimal(1), decimals)] == expected


def test_a_pool_is_rounded_half_to_even_once() -> None:
    tenth = Share(1, None, "shared", "a", USD // 200, "even", 1, 1)
    assert in_currency([tenth], Decimal(1), 2) == [Decimal("0.00")]
    assert in_currency([replace(tenth, pico=3 * USD // 200)], Decimal(1), 2) == [Decimal("0.02")]
