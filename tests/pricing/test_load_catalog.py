"""Publishing the catalog: once is enough, history stays, and the newest version is what a process sees."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction

from apps.core.errors import DomainError
from apps.pricing.catalog import EPOCH, PublishedModel, PublishedPrice
from apps.pricing.cost import RATE_MAX
from apps.pricing.models import CatalogVersion, Price, PricedModel
from apps.pricing.selectors import list_prices, load_catalog, prices_by_id
from apps.pricing.services import publish_catalog
from tests.database import as_worker
from tests.world import unique

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
BASE = PublishedPrice("standard", EPOCH, {"input_tokens": 2_500_000}, published={"input_mtok": "2.5"})


@pytest.fixture
def model() -> PublishedModel:
    """A model that no other test publishes: what is published stays."""
    return PublishedModel(unique("acme"), "m-1", {"equals": "m-1"}, (BASE,), 128_000)


def publish(*models, source="a-source"):
    with as_worker():
        return publish_catalog(models=models, source=source, source_version="1")


def load(*arguments):
    """What the command says, run with the rights of a worker."""
    out = StringIO()
    with as_worker():
        call_command("load_catalog", *arguments, stdout=out)
    return out.getvalue()


def rows_of(model):
    return Price.objects.filter(provider=model.provider)


def price_of(model, at=JUNE, tier="", name="m-1"):
    return load_catalog().find(model.provider, name, tier, at)


def rate_of(model, at=JUNE, tier=""):
    return price_of(model, at, tier).rates[0]


class TestTheCommand:
    def test_it_loads_the_prices_of_the_package_once(self):
        load()
        before = (CatalogVersion.objects.count(), PricedModel.objects.count(), Price.objects.count())
        said = load()
        assert (CatalogVersion.objects.count(), PricedModel.objects.count(), Price.objects.count()) == before
        assert "Prices: 0 new, 0 superseded, 0 withdrawn, " in said
        assert "input_video_mtok" in said

    def test_what_it_loads_prices_a_call(self, snapshot_catalog):
        load()
        for at in (datetime(2025, 6, 1, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)):
            for provider, model, tier in (
                ("openai", "gpt-5.5", "batch"),
                ("gcp.gemini", "gemini-2.5-pro", ""),
                ("deepseek", "deepseek-v4-pro", "flex"),
            ):
                stored = load_catalog().find(provider, model, tier, at)
                expected = snapshot_catalog.find(provider, model, tier, at)
                assert (stored.base, stored.tiers) == (expected.base, expected.tiers)
                assert stored.source == "genai-prices"


class TestPublishing:
    def test_a_row_keeps_what_was_published(self, model):
        publish(model)
        row = rows_of(model).get()
        assert row.rates == {"input_tokens": "2.500000"}
        assert row.published == {"input_mtok": "2.5"}
        assert (row.source, row.source_version) == ("a-source", "1")

    def test_the_same_prices_again_add_nothing(self, model):
        first = publish(model)
        again = publish(model)
        assert (first.models_new, first.prices_new) == (1, 1)
        assert (again.version, again.prices_new, again.prices_unchanged) == (first.version, 0, 1)
        assert rows_of(model).count() == 1

    def test_a_changed_price_supersedes_and_the_old_row_stays(self, model):
        publish(model)
        old = price_of(model)
        changed = publish(replace(model, prices=(replace(BASE, rates={"input_tokens": 7}),)))
        assert (changed.prices_superseded, changed.prices_new) == (1, 0)
        assert rate_of(model) == 7
        assert prices_by_id([old.id]) == {old.id: old}
        assert [row.rates["input_tokens"] for row in list_prices(model.provider, "m-1")] == [
            "0.000007",
            "2.500000",
        ]

    def test_a_later_start_leaves_the_past_as_it_was(self, model):
        publish(model)
        publish(replace(model, prices=(BASE, PublishedPrice("standard", JUNE, {"input_tokens": 7}))))
        assert (rate_of(model, JUNE - timedelta(seconds=1)), rate_of(model, JUNE)) == (2_500_000, 7)

    def test_a_price_no_longer_published_is_withdrawn_and_may_come_back(self, model):
        both = replace(model, prices=(BASE, PublishedPrice("standard", JUNE, {"input_tokens": 7})))
        publish(both)
        assert publish(model).prices_withdrawn == 1
        assert rate_of(model) == 2_500_000
        assert publish(model).prices_withdrawn == 0
        assert publish(both).prices_new == 1
        assert rate_of(model) == 7

    def test_a_model_no_longer_published_keeps_its_price(self, model):
        publish(model)
        publish(replace(model, model="m-2", match={"equals": "m-2"}))
        assert rate_of(model) == 2_500_000

    def test_another_source_withdraws_nothing(self, model):
        publish(model)
        batch = PublishedPrice("batch", EPOCH, {"input_tokens": 7})
        assert publish(replace(model, prices=(batch,)), source="b-source").prices_withdrawn == 0
        assert (rate_of(model), rate_of(model, tier="batch")) == (2_500_000, 7)

    def test_a_changed_match_is_a_new_row(self, model):
        publish(model)
        assert publish(replace(model, match={"starts_with": "m-"})).models_changed == 1
        assert price_of(model, name="m-9").model == "m-1"

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ({"provider": ""}, "1 to 256 characters, not 0"),
            ({"model": "m" * 257}, "1 to 256 characters, not 257"),
            ({"match": {"like": "m"}}, "no known kind"),
            ({"match": {"regex": "("}}, "unterminated"),
            ({"prices": (replace(BASE, service_tier="gold"),)}, "'gold' is none of standard"),
            ({"prices": (replace(BASE, rates={"tokens": 1}),)}, "no meter 'tokens'"),
            ({"prices": (replace(BASE, rates={"requests": -1}),)}, "-1 micro-USD"),
            ({"prices": (replace(BASE, rates={"requests": RATE_MAX + 1}),)}, "is not between 0"),
            ({"prices": (replace(BASE, tiers={9: {"images": -5}}),)}, "-5 micro-USD"),
            ({"prices": (replace(BASE, tiers={0: {}}),)}, "positive number of prompt tokens, not 0"),
            ({"prices": (replace(BASE, effective_from=datetime(2026, 1, 1)),)}, "has no zone"),
            ({"prices": (replace(BASE, daily_until_minute=1441),)}, "no window of a day"),
            ({"prices": (BASE, BASE)}, "published twice"),
        ],
    )
    def test_it_refuses_a_price_that_cannot_be_right(self, model, wrong, says):
        with pytest.raises(DomainError, match=says) as refused:
            publish(replace(model, **wrong))
        assert refused.value.code == "price_invalid"
        assert not rows_of(model).exists()


class TestTheTables:
    @pytest.mark.parametrize(
        ("change", "constraint"),
        [
            ({"service_tier": "gold"}, "price_service_tier_is_known"),
            ({"daily_until_minute": 0}, "price_window_is_within_a_day"),
            ({"withdrawn": True}, "price_withdrawn_has_no_rates"),
            ({}, "price_once_per_version"),
        ],
    )
    def test_they_refuse_what_must_never_be(self, model, change, constraint):
        publish(model)
        row = rows_of(model).get()
        row.pk = None
        for column, value in change.items():
            setattr(row, column, value)
        with as_worker(), pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            row.save(force_insert=True)

    @pytest.mark.parametrize(
        ("role", "privileges"), [("finops_app", {"SELECT"}), ("finops_worker", {"SELECT", "INSERT"})]
    )
    @pytest.mark.parametrize("table", ["pricing_catalogversion", "pricing_pricedmodel", "pricing_price"])
    def test_the_site_reads_and_a_worker_publishes(self, role, privileges, table):
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT p FROM unnest(%s::text[]) AS p WHERE has_table_privilege(%s, %s, p)",
                [["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"], role, table],
            )
            assert {privilege for (privilege,) in cursor.fetchall()} == privileges


class TestTheProcess:
    def test_a_catalog_is_built_once_per_version(self, model, django_assert_num_queries):
        publish(model)
        catalog = load_catalog()
        with django_assert_num_queries(1):
            assert load_catalog() is catalog
        publish(replace(model, prices=(replace(BASE, rates={"input_tokens": 7}),)))
        assert load_catalog().version == catalog.version + 1
