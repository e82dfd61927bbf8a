"""What a workflow's tokens cost now, from what it called lately and the organization's own prices."""

from datetime import datetime, timedelta
from typing import Any

from apps.core.meters import METER_INDEX
from apps.insights import cells_sql
from apps.insights.judging import Prices
from apps.organizations.models import Organization
from apps.pricing.cost import Price, usd_per_million
from apps.pricing.rating import RateBook
from apps.pricing.selectors import load_rate_book

LOOKED_AT = timedelta(hours=24)
PROMPT = ("input_tokens", "cache_read_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens")


class Pricer:
    """Prices of workflows, asked for one by one: only those in alarm are. What was called is read once for all."""

    def __init__(self, org: Organization, hour: datetime) -> None:
        self._org, self._hour = org, hour
        self._book: RateBook | None = None
        self._called: dict[str, list[tuple[Any, ...]]] = {}
        self._known: dict[str, Prices | None] = {}

    def of_workflow(self, workflow: str) -> Prices | None:
        """By the tokens of the last day; None where nothing that has a price was called."""
        if workflow not in self._known:
            self._known[workflow] = self._reckon(workflow)
        return self._known[workflow]

    def _reckon(self, workflow: str) -> Prices | None:
        if self._book is None:
            self._book = load_rate_book(self._org)
            for name, *row in cells_sql.prompts(self._org.pk, self._hour - LOOKED_AT, self._hour):
                self._called.setdefault(name, []).append(tuple(row))
        sums = dict.fromkeys(PROMPT, 0.0)
        usd, at_input = dict.fromkeys(PROMPT, 0.0), dict.fromkeys(PROMPT, 0.0)
        for provider, model, *tokens in self._called.get(workflow, ()):
            price = self._book.price(provider, model, "", "", self._hour)
            if price is None or not (fresh := _usd(price, "input_tokens")):
                continue
            for name, count in zip(PROMPT, tokens, strict=True):
                rate = _usd(price, name)
                sums[name] += count
                at_input[name] += count * fresh
                usd[name] += count * (fresh if rate is None else rate)
        prompt = sum(sums.values())
        if not prompt:
            return None
        written = "cache_write_5m_tokens", "cache_write_1h_tokens"
        return Prices(
            input_usd=sum(at_input.values()) / prompt,
            prompt_usd=sum(usd.values()) / prompt,
            read_multiple=_multiple(usd, at_input, ("cache_read_tokens",), 0.1),
            write_multiple=_multiple(usd, at_input, written, 1.0),
        )


def _usd(price: Price, meter: str) -> float | None:
    rate = price.base.rates[METER_INDEX[meter]]
    return None if rate is None else float(usd_per_million(rate)) / 1e6


def _multiple(usd: dict[str, float], at_input: dict[str, float], names: tuple[str, ...], otherwise: float) -> float:
    base = sum(at_input[name] for name in names)
    return sum(usd[name] for name in names) / base if base else otherwise
