"""What the FinOps Foundation's own validator says of our files."""

from collections.abc import Iterable
from datetime import date
from pathlib import Path

import pytest

from apps.core.meters import METERS
from apps.reports import focus
from apps.reports.focus_statement import rows_of_document
from tests.reports import focus_validator
from tests.reports.focus_validator import Unavailable, judge
from tests.reports.test_focus import ACCOUNT, calls
from tests.reports.test_focus_statement import document

# The two exclude each other, and the validator asks for both of every file: one of them always fails.
OF_AN_INVOICE, OF_NONE = frozenset({"InvoiceId-C-004-C"}), frozenset({"InvoiceId-C-005-C"})
# What the specification's own rules come to, of those that apply.
PASSED = 298


def check(rows: Iterable[focus.Row], known: frozenset[str], folder: Path) -> None:
    file = folder / "focus.csv"
    with file.open("wb") as out:
        focus.write(rows, out)
    try:
        verdict = judge(file)
    except Unavailable as error:
        pytest.skip(str(error))
    assert verdict.failed == known
    assert verdict.passed == PASSED


def test_usage_is_valid(tmp_path: Path) -> None:
    groups = [
        calls(),
        calls(team=None, project=None, workflow=None, task_type=None, environment=None),
        calls(status="error", cost_pico=777),
        calls(quantities=dict.fromkeys(METERS, 5), cost_pico=10**9),
        calls(provider="own", model="gone", team="=1+1", cost_pico=1_234_567),
        calls(booked_month=date(2026, 11, 1)),
        calls(booked_month=date(2026, 11, 1), quantities={"input_tokens": -1_000}, cost_pico=-3_000_000_000),
        calls(booked_month=date(2026, 11, 1), quantities={}, cost_pico=-5, events=0),
    ]
    check(focus.rows(groups, ACCOUNT, unpriced_events=7), OF_NONE, tmp_path)


def test_a_final_statement_is_valid(tmp_path: Path) -> None:
    check(rows_of_document(document()), OF_AN_INVOICE, tmp_path)


def test_a_draft_is_valid(tmp_path: Path) -> None:
    check(rows_of_document(document(number=None)), OF_NONE, tmp_path)


def test_what_is_not_valid_is_found(tmp_path: Path) -> None:
    """The report is read, and not only its exit code."""
    file = tmp_path / "focus.csv"
    with file.open("wb") as out:
        focus.write(({**row, "ChargeCategory": "Fee"} for row in focus.rows([calls()], ACCOUNT)), out)
    try:
        assert "ChargeCategory-C-003-M" in judge(file).failed
    except focus_validator.Unavailable as error:
        pytest.skip(str(error))
