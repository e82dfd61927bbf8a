"""Readings in words: four digits, written out, each with its unit once."""

import pytest

from apps.insights.causes import words_of_cell
from apps.insights.wording import change_words, reading


@pytest.mark.parametrize(
    ("signal", "value", "words"),
    [
        ("cost_per_run", 0.00009619, "0.00009619 USD"),
        ("cost_per_run", 12.5, "12.5 USD"),
        ("input_tokens_per_call", 77153.4, "77\u202f153 tokens"),
        ("cache_hit_rate", 0.1234, "12.3 %"),
        ("loops_per_run", None, "—"),
    ],
)
def test_a_reading_is_written_out(signal: str, value: float | None, words: str) -> None:
    assert reading(signal, value) == words


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (
            {"signal": "loops_per_run", "value": 8.3, "baseline": 2.9, "low": 2.6, "high": 3.2},
            "8.3 calls, where 2.9 calls is usual (2.6 to 3.2 calls)",
        ),
        (
            {
                "signal": "spend_per_hour",
                "value": 0.0,
                "baseline": 0.0,
                "low": 0.0,
                "high": 0.0,
                "in_alarm": True,
                "peak": {"value": 41.5, "baseline": 2.0, "low": 1.5, "high": 2.5, "excess_usd": "120"},
            },
            "41.5 USD at its peak, where 2 USD is usual (1.5 to 2.5 USD)",
        ),
        (
            {
                "signal": "loops_per_run",
                "value": 4.0,
                "baseline": 2.9,
                "low": 2.6,
                "high": 3.2,
                "in_alarm": True,
                "peak": {"value": 8.3, "baseline": 2.9, "low": 2.6, "high": 3.2, "excess_usd": "12"},
            },
            "4 calls, where 2.9 calls is usual (2.6 to 3.2 calls)",
        ),
        ({"signal": "burn", "value": 1.58, "rule": "4320 minutes"}, "1.58 times the plan over 3 days"),
        ({"signal": "burn", "value": 14.4, "rule": "60 minutes"}, "14.4 times the plan over 1 hour"),
        ({"signal": "burn", "value": 2.0, "rule": "90 minutes"}, "2 times the plan over 90 minutes"),
    ],
)
def test_a_change_says_what_is_usual_or_over_how_long(entry: dict[str, object], words: str) -> None:
    assert change_words(entry) == words


@pytest.mark.parametrize(("share", "says"), [(0.834, "83 %"), (0.997, "all"), (1.021, "all")])
def test_a_cause_is_at_most_all_of_it(share: float, says: str) -> None:
    """Beyond all of it where the rest fell meanwhile."""
    cell = {"cell": {"model": "anthropic/claude-opus-4-5", "task_type": None}, "share": share}
    assert words_of_cell(cell) == f"model anthropic/claude-opus-4-5, task type none: {says} of it"
