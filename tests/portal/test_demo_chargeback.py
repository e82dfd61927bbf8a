"""What the demo shows of chargeback: a final month, a dispute, a shared licence, a bill with its gap."""

from apps.ingest.demo import chargeback
from tests.portal.reading import get
from tests.portal.shop import finance, shop
from tests.reports.months import NEXT, work
from tests.usage.ledger import month_start, roll
from tests.world import make_event

__all__ = ["finance", "shop"]  # fixtures

LAST = month_start(NEXT).isoformat()


def used(at, **fields):
    calls = {"provider": "anthropic", "model": "claude-sonnet-4-5", "occurred_at": at, "output_tokens": 400_000}
    return make_event(team="search", workflow="rag", **calls | fields)


def test_last_month_is_final_and_what_follows_is_on_its_pages(shop, finance):
    chargeback.furnish_terms(shop.org, "tests")
    shop.api.send(used(LAST))
    assert not chargeback.close_last_month(shop.org, "tests", seconds_max=0)
    roll(shop.org)
    assert not chargeback.close_last_month(shop.org, "tests", seconds_max=1)
    assert work(shop.org) == 1
    assert chargeback.close_last_month(shop.org, "tests", seconds_max=1)
    for _ in range(2):
        chargeback.furnish_dispute(shop.org)
        chargeback.furnish_bill(shop.org, "tests")
    paper = get(finance, shop.url(f"statements/{NEXT:%Y-%m}:search")).text
    assert "Gateway licence" in paper
    assert "experiments ran through this workflow" in paper
    bills = get(finance, shop.url(f"invoices?month={NEXT:%Y-%m}")).text
    assert "anthropic" in bills


def test_a_month_without_calls_stays_open_and_nothing_is_invented(shop, finance):
    chargeback.furnish_terms(shop.org, "tests")
    assert not chargeback.close_last_month(shop.org, "tests", seconds_max=60)
    chargeback.furnish_dispute(shop.org)
    chargeback.furnish_bill(shop.org, "tests")
    assert "is final" not in get(finance, shop.url(f"statements?month={NEXT:%Y-%m}")).text
