"""What changed, in sentences: which changes are told, and how."""

from decimal import Decimal
from typing import Any

import pytest

from apps.portal.changes import largest_changes
from apps.portal.formats import THIN
from apps.reports.selectors import Spend, SpendRow, Sums

Figures = tuple[int, str | None, int, str | None]


def sums(events: int, usd: str | None, unpriced: int = 0) -> Sums:
    return Sums(events=events, cost_usd=None if usd is None else Decimal(usd), unpriced_events=unpriced)


def answer(**rows: Figures) -> Spend:
    """Each row as (calls, USD, calls before, USD before)."""
    found = [
        SpendRow((None if name == "none" else name,), None, sums(*figures[:2]), sums(*figures[2:]))
        for name, figures in rows.items()
    ]
    whole = [sums(0, str(sum((Decimal(row[place] or 0) for row in rows.values()), Decimal(0)))) for place in (1, 3)]
    fields: dict[str, Any] = dict.fromkeys(Spend.__dataclass_fields__)
    return Spend(**{**fields, "rows": found, "total": whole[0], "before": whole[1]})


@pytest.mark.parametrize(
    ("figures", "says"),
    [
        ((130, "1300", 100, "888"), "cost $412 more (+46 %): 30 % more calls, each 13 % dearer."),
        ((50, "10", 100, "40"), "cost $30.00 less (-75 %): 50 % fewer calls, each 50 % cheaper."),
        ((100, "20", 100, "10"), "cost $10.00 more (+100 %): as many calls, each 100 % dearer."),
        ((200, "20", 100, "10"), "cost $10.00 more (+100 %): 100 % more calls, each at the same cost."),
        ((420, "420", 100, "10"), "cost $410 more: 4.2 times as many calls, each 10 times as dear."),
        ((1, "500", 1, "0.05"), "cost $500 more: as many calls, each 10 000 times as dear."),
        ((1, "0.0001", 1, "500"), "cost $500 less (-100 %): as many calls, each more than 99 % cheaper."),
        ((1200, "300", 0, "0"), "cost $300 for 1 200 calls, and nothing before."),
        ((1, "300", 0, "0"), "cost $300 for 1 call, and nothing before."),
        ((0, "0", 10, "30"), "cost nothing, and $30.00 before."),
        # Free before: there is nothing to take a share of.
        ((20, "5", 10, "0"), "cost $5.00 more: 100 % more calls."),
    ],
)
def test_a_change_is_told_by_calls_and_by_what_each_cost(figures: Figures, says: str) -> None:
    (moved,) = largest_changes({"team": answer(search=figures)})
    assert moved.says.replace(THIN, " ").replace("\u2212", "-") == says
    assert moved.direction == ("up" if Decimal(figures[1] or 0) > Decimal(figures[3] or 0) else "down")


@pytest.mark.parametrize("figures", [(1, "9" * 26, 1, "0.000000000001"), (10**12, "0.000000000001", 1, "9" * 26)])
def test_the_widest_change_can_be_told(figures: Figures) -> None:
    (moved,) = largest_changes({"team": answer(search=figures)})
    assert "times as dear" in moved.says or "cheaper" in moved.says


def test_calls_without_a_price_have_no_part_in_it() -> None:
    now, before = sums(150, "20", 50), sums(100, "10")
    (moved,) = largest_changes({"model": _with([SpendRow(("m",), None, now, before)])})
    assert moved.says.endswith("as many priced calls, each 100\u202f% dearer.")


def test_what_is_unpriced_on_one_side_is_not_compared() -> None:
    rows = [SpendRow(("m",), None, sums(5, None, 5), sums(5, "10")), SpendRow(("n",), None, sums(5, "1"), None)]
    assert largest_changes({"model": _with(rows)}) == []


def _with(rows: list[SpendRow]) -> Spend:
    fields: dict[str, Any] = dict.fromkeys(Spend.__dataclass_fields__)
    return Spend(**{**fields, "rows": rows, "total": sums(1, "10"), "before": sums(1, "10")})


def test_each_dimension_has_its_largest_and_one_more_is_told() -> None:
    found = largest_changes(
        {
            "team": answer(a=(1, "900", 1, "100"), b=(1, "100", 1, "800"), c=(1, "650", 1, "50")),
            "workflow": answer(w=(1, "40", 1, "10"), v=(1, "30", 1, "20")),
            "model": answer(m=(1, "55", 1, "5")),
        }
    )
    assert [(one.dimension, one.value) for one in found] == [
        ("team", "a"), ("team", "b"), ("model", "m"), ("workflow", "w"),
    ]  # fmt: skip
    assert [one.direction for one in found] == ["up", "down", "up", "up"]


def test_what_changed_by_less_than_a_hundredth_of_spend_is_no_news() -> None:
    assert largest_changes({"team": answer(a=(1, "1000", 1, "1000"), b=(1, "9.99", 1, "0"))}) == []
    (moved,) = largest_changes({"team": answer(a=(1, "1000", 1, "1000"), b=(1, "10.2", 1, "0"))})
    assert moved.value == "b"


@pytest.mark.parametrize(
    ("dimension", "subject"), [("team", "What no team owns"), ("workflow", "Calls without a workflow")]
)
def test_what_has_no_name_is_named(dimension: str, subject: str) -> None:
    (moved,) = largest_changes({dimension: answer(none=(1, "10", 1, "1"))})
    assert (moved.value, moved.subject) == (None, subject)


def test_amounts_of_no_period_before_change_nothing() -> None:
    assert largest_changes({}) == []
    assert largest_changes({"team": answer()}) == []
