"""Why a statement is not what it was: drivers in USD that add up to the change, to the last decimal."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.core.money import sum_usd, usd_text
from apps.reports.changes_explained import explain
from apps.reports.document import KINDS, Line
from tests.reports.documents import make_document, make_line


def usage(workflow: str | None, model: str, tokens: int, cost: str, **more: Any) -> Line:
    meters = {"input_tokens": tokens} if tokens else {}
    return make_line(kind="usage", workflow=workflow, model=model, meters=meters, cost_usd=cost, **more)


def told(before: list[Line], after: list[Line]) -> dict[tuple[str, str], str]:
    found = explain(make_document(before), make_document(after))
    assert sum_usd(one.change_usd for one in found.drivers) == found.change_usd
    return {(one.kind, one.name): f"{one.change_usd.normalize():f}" for one in found.drivers}


CASES = {
    "twice the tokens": (
        [usage("answers", "small", 1000, "10")], [usage("answers", "small", 2000, "20")], {("volume", ""): "10"}
    ),
    "a dearer price": (
        [usage("answers", "small", 1000, "10")], [usage("answers", "small", 1000, "15")], {("price", "small"): "5"}
    ),
    "twice the tokens at half the price": (
        [usage("answers", "small", 1000, "10")],
        [usage("answers", "small", 2000, "10")],
        {("volume", ""): "10", ("price", "small"): "-10"},
    ),
    "another model for half of it": (
        [usage("answers", "small", 1000, "10")],
        [usage("answers", "small", 500, "5"), usage("answers", "large", 500, "50")],
        {("mix", "large"): "50", ("mix", "small"): "-5"},
    ),
    "a new workflow and one that is gone": (
        [usage("old", "small", 1000, "10")],
        [usage("new", "small", 1000, "12")],
        {("new", "new"): "12", ("gone", "old"): "-10"},
    ),
    "calls without tokens": (
        [usage("draw", "images", 0, "4", events=2)], [usage("draw", "images", 0, "6", events=3)], {("volume", ""): "2"}
    ),
    "all else by its kind": (
        [make_line(kind="seats", cost_usd="5"), make_line(kind="grant", cost_usd="-1")],
        [
            make_line(kind="seats", cost_usd="7"),
            make_line(kind="late", cost_usd="3"),
            make_line(kind="shared", cost_usd="11"),
            make_line(kind="credit_note", cost_usd="-4"),
            make_line(kind="unpriced", cost_usd=None),
        ],
        {("shared", ""): "11", ("adjustments", ""): "-4", ("late", ""): "3", ("fees", ""): "2", ("credits", ""): "1"},
    ),
    "nothing": ([usage("answers", "small", 7, "1")], [usage("answers", "small", 7, "1")], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_change_has_its_reasons(case: str) -> None:
    before, after, drivers = CASES[case]
    assert told(before, after) == drivers


def test_of_a_first_month_all_is_new() -> None:
    found = explain(None, make_document([usage("answers", "small", 1, "2")]))
    assert [(one.kind, one.name, one.change_usd) for one in found.drivers] == [("new", "answers", Decimal(2))]


_LINES = st.lists(
    st.builds(
        lambda kind, workflow, model, tokens, events, pico: make_line(
            kind=kind,
            workflow=workflow,
            model=model,
            events=events,
            meters={"input_tokens": tokens} if tokens else {},
            cost_usd=None if kind == "unpriced" else usd_text(Decimal(pico).scaleb(-12)),
        ),
        st.sampled_from(KINDS),
        st.sampled_from(["answers", "triage", None]),
        st.sampled_from(["small", "large"]),
        st.integers(0, 10**13),
        st.integers(0, 10**6),
        st.integers(-(10**25), 10**25),
    ),
    max_size=12,
)


@given(_LINES, _LINES)
def test_drivers_add_up_to_the_change_whatever_the_lines(before: list[Line], after: list[Line]) -> None:
    found = explain(make_document(before), make_document(after))
    assert sum_usd(one.change_usd for one in found.drivers) == found.change_usd
    assert found.change_usd == found.after_usd - found.before_usd
