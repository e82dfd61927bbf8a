"""Prices that wait for a person: what is flagged and held, and what a decision makes of it.

What a source changes is played by publishing other rates for a model of the installed package first: to the next
load, the package then says something new.
"""

from dataclasses import replace
from datetime import UTC, datetime
from io import StringIO
from itertools import count

import pytest
from django.core.management import CommandError, call_command

from apps.pricing.catalog import EPOCH, PublishedModel, PublishedPrice
from apps.pricing.genai import SOURCE
from apps.pricing.models import CatalogVersion, Price, PriceDecision, PriceFlag
from apps.pricing.reviews import flags, open_flags, publish_decisions, under_review
from apps.pricing.selectors import PRICE_KEY, load_catalog
from apps.pricing.services import plan, publish, publish_catalog
from apps.pricing.sources import Snapshot
from apps.pricing.tasks import load_catalog as load_weekly
from tests.database import as_worker
from tests.world import unique

JUNE = datetime(2026, 6, 1, tzinfo=UTC)
BOB = "bob@acme.example"


def run(command, *arguments):
    """What a command says, run with the rights of a worker."""
    out = StringIO()
    with as_worker():
        call_command(command, *arguments, stdout=out)
    return out.getvalue()


def decide(flag, verdict, *arguments):
    return run("review_price", str(flag.pk), verdict, "--by", BOB, *arguments)


def weekly():
    with as_worker():
        load_weekly()


taken = count()


@pytest.fixture
def published(snapshot):
    """A model of the package with one price in all, which no other test takes: what is published stays."""
    plain = [model for model in snapshot.models if [*map(is_plain, model.prices)] == [True]]
    return plain[next(taken)]


def is_plain(price):
    return (
        set(price.rates) == {"input_tokens", "output_tokens"} and price.rates["output_tokens"] > 0 and not price.tiers
    )


def say(model, **rates):
    """The default source says other rates."""
    with as_worker():
        changed = replace(model.prices[0], rates={**model.prices[0].rates, **rates})
        return publish_catalog(models=[replace(model, prices=(changed,))], source=SOURCE, source_version="0")


def rates_of(model):
    """Input and output, in micro-USD per million tokens, that calls are priced by."""
    known = model.prices[0]
    price = load_catalog().find(model.provider, model.model, "", known.effective_from)
    return price.rates[0], price.rates[4]


def own(model):
    rates = model.prices[0].rates
    return rates["input_tokens"], rates["output_tokens"]


def flags_of(model):
    return list(open_flags().filter(provider=model.provider, model=model.model, kind=PriceFlag.Kind.CHANGED))


def held_flag(model, output=7_000_000):
    """A change of a price in force that the weekly load left to a person."""
    say(model, output_tokens=output)
    weekly()
    (flag,) = flags_of(model)
    return flag


def differing_flag():
    return open_flags().filter(kind=PriceFlag.Kind.SOURCES_DIFFER).first()


class TestTheLoad:
    def test_the_weekly_load_holds_what_changes_a_price_in_force(self, published):
        flag = held_flag(published)
        assert rates_of(published) == (own(published)[0], 7_000_000)
        assert flag.ours["rates"]["output_tokens"] == "7.000000"
        assert (flag.other_source, flag.verdict) == (SOURCE, None)
        assert f"{flag.pk}: {published.provider}/{published.model} standard" in run("review_prices")

    def test_what_is_held_is_flagged_once(self, published):
        flag = held_flag(published)
        weekly()
        assert [found.pk for found in flags_of(published)] == [flag.pk]

    def test_the_weekly_load_publishes_what_is_new(self, published):
        with as_worker():
            # Withdrawn, the price is new to the next load.
            publish_catalog(models=[replace(published, prices=())], source=SOURCE, source_version="0")
        assert load_catalog().find(published.provider, published.model, "", published.prices[0].effective_from) is None
        weekly()
        assert rates_of(published) == own(published)
        assert flags_of(published) == []

    def test_by_hand_what_changes_is_listed_before_it_is_published(self, published):
        flag = held_flag(published)
        listed = run("load_catalog", "--plan", "--all")
        percent = f"({(own(published)[1] / 7_000_000 - 1) * 100:+.1f} %)"
        line = next(line for line in listed.splitlines() if f"{published.provider}/{published.model} standard" in line)
        assert line.strip().startswith("~")
        assert "output_tokens 7.000000 -> " in line
        assert percent in line
        assert "input_tokens" not in line
        assert "Nothing was published." in listed
        assert rates_of(published)[1] == 7_000_000

        run("load_catalog")
        assert rates_of(published) == own(published)
        flag = flags().get(pk=flag.pk)
        assert (flag.verdict, flag.decided_by) == ("agreed", "catalog")

    def test_where_sources_differ_the_default_one_stands(self):
        flag = differing_flag()
        price = load_catalog().find(flag.provider, flag.model, flag.service_tier, flag.effective_from)
        assert price.source == SOURCE
        assert flag.difference_percent > 1
        assert flag.pk in {found.pk for found in under_review([(flag.provider, flag.model)])[flag.provider, flag.model]}

    def test_the_same_difference_again_adds_nothing(self):
        run("load_catalog")
        before = (PriceFlag.objects.count(), PriceDecision.objects.count())
        said = run("load_catalog")
        assert (PriceFlag.objects.count(), PriceDecision.objects.count()) == before
        assert "prices on which the sources differ by more than 1 %" in said

    def test_a_difference_that_is_gone_is_closed_and_opens_again_when_it_is_back(self):
        back = differing_flag()
        with as_worker():
            gone = PriceFlag.objects.create(
                **{name: getattr(back, name) for name in PRICE_KEY}, kind=back.kind, ours=back.ours, theirs=back.theirs,
                other_source="x",
                other_version="1", difference_percent=2, digest=f"gone {back.pk}",
            )  # fmt: skip
            PriceDecision.objects.create(flag=back, verdict="agreed", decided_by="catalog")
        assert back.pk not in {flag.pk for flag in open_flags()}
        run("load_catalog")
        assert flags().get(pk=gone.pk).verdict == "agreed"
        assert back.pk in {flag.pk for flag in open_flags()}

    def test_a_model_that_the_default_source_comes_to_know_has_its_prices_alone(self):
        model = unique("azure-model")
        standard, batch = (PublishedPrice(tier, EPOCH, {"input_tokens": 5}) for tier in ("standard", "batch"))
        known = PublishedModel("azure", model, {"equals": model}, (standard, batch))
        with as_worker():
            publish_catalog(models=[known], source="litellm", source_version="0")
            publish_catalog(models=[replace(known, prices=(standard,))], source=SOURCE, source_version="0")
        batches = Price.objects.filter(model=model, service_tier="batch").order_by("id")
        assert [(row.source, row.withdrawn) for row in batches] == [("litellm", False), (SOURCE, True)]

    def test_a_region_that_is_no_longer_made_from_a_price_is_withdrawn(self):
        model = unique("m")
        old, new = (PublishedPrice("standard", at, {"input_tokens": 5}, region="eu") for at in (EPOCH, JUNE))
        known = PublishedModel("acme", model, {"equals": model}, (old, new))
        for prices in ((old, new), (old,)):
            with as_worker():
                publish(plan(Snapshot("litellm", "0", (replace(known, prices=prices),), published_on=JUNE.date())))
        rows = Price.objects.filter(model=model).order_by("id")
        assert [(row.effective_from, row.withdrawn) for row in rows] == [(EPOCH, False), (JUNE, False), (JUNE, True)]

    def test_what_a_source_without_history_changes_holds_from_its_date(self):
        model = unique("m")
        known = PublishedModel(
            "acme", model, {"equals": model}, (PublishedPrice("standard", EPOCH, {"input_tokens": 5}),)
        )
        changed = replace(known, prices=(PublishedPrice("standard", EPOCH, {"input_tokens": 6}),))
        for said in (known, changed, changed):
            with as_worker():
                publish(plan(Snapshot("litellm", "0", (said,), published_on=JUNE.date())))
        rows = Price.objects.filter(model=model).order_by("id")
        assert [(row.effective_from, row.rates) for row in rows] == [
            (EPOCH, {"input_tokens": "0.000005"}),
            (JUNE, {"input_tokens": "0.000006"}),
        ]


class TestDecisions:
    def test_an_accepted_change_is_published_as_the_source_said_it(self, published):
        # A change there and back is flagged each time.
        for _ in range(2):
            flag = held_flag(published)
            assert "1 prices published" in decide(flag, "accept")
            assert rates_of(published) == own(published)
            row = Price.objects.filter(provider=published.provider, model=published.model).latest("id")
            assert (row.source, row.source_version) == (SOURCE, flag.other_version)
            assert row.published == published.prices[0].published
            assert flags_of(published) == []

    # 7 is what stands already.
    @pytest.mark.parametrize("rate", ["6.5", "7"])
    def test_no_load_undoes_an_override_until_its_source_says_something_new(self, published, rate):
        stands = (own(published)[0], int(float(rate) * 10**6))
        decide(held_flag(published), "override", "--note", "our invoice", "--rate", f"output_tokens={rate}")
        row = Price.objects.filter(provider=published.provider, model=published.model).latest("id")
        assert (row.source, CatalogVersion.objects.get(pk=row.catalog_version_id).source) == ("review", "review")
        with as_worker():
            assert publish_decisions() == 0
        run("load_catalog")
        weekly()
        assert rates_of(published) == stands
        assert flags_of(published) == []

        assert say(published, output_tokens=9_000_000).prices_superseded == 0
        assert rates_of(published) == stands

    def test_waiting_keeps_it_open_with_a_note(self):
        flag = differing_flag()
        assert "0 prices published" in decide(flag, "wait", "--note", "asked the vendor")
        again = open_flags().get(pk=flag.pk)
        assert (again.verdict, again.note, again.decided_by) == ("wait", "asked the vendor", BOB)

    def test_accepting_what_stands_publishes_nothing_and_is_final(self):
        flag = differing_flag()
        assert "0 prices published" in decide(flag, "accept", "--note", "their list is old")
        with pytest.raises(CommandError, match=f"Flag {flag.pk} was decided by {BOB}"):
            decide(flag, "wait")
        run("load_catalog")
        assert flags().get(pk=flag.pk).verdict == "accept"
        assert f"{flag.pk}: " not in run("review_prices")
        assert f"{flag.pk}: " in run("review_prices", "--all")

    def test_a_difference_is_overridden_beside_the_thresholds_that_stand(self):
        flag = open_flags().filter(kind=PriceFlag.Kind.SOURCES_DIFFER, provider="openai").first()
        decide(flag, "override", "--note", "our invoice", "--rate", "input_tokens=1.25")
        row = Price.objects.filter(provider=flag.provider, model=flag.model, service_tier=flag.service_tier).latest(
            "id"
        )
        assert row.rates == {**flag.ours["rates"], "input_tokens": "1.250000"}
        assert row.tiers == flag.ours["tiers"]
        run("load_catalog")
        assert load_catalog().find(flag.provider, flag.model, flag.service_tier, flag.effective_from).id == row.id

    @pytest.mark.parametrize(
        ("arguments", "says"),
        [
            (["override", "--rate", "output_tokens=1"], "Say why"),
            (["override", "--note", "x"], "no object of meters and rates"),
            (["override", "--note", "x", "--rate", "tokens=1"], "'tokens' is not a meter"),
            (["override", "--note", "x", "--rate", "output_tokens"], "output_tokens"),
            (["override", "--note", "x", "--rate", "output_tokens=-1"], "output_tokens"),
            (["accept", "--note", "x" * 501], "1 to 500 characters"),
        ],
    )
    def test_it_refuses_what_cannot_be_meant(self, arguments, says):
        flag = differing_flag()
        with pytest.raises(CommandError, match=says):
            decide(flag, *arguments)
        assert flags().get(pk=flag.pk).verdict == flag.verdict

    def test_it_refuses_a_flag_that_is_not_there(self):
        with pytest.raises(CommandError, match="No such price flag"):
            run("review_price", "0", "wait", "--by", BOB)

    def test_the_site_decides_and_a_worker_publishes(self, published):
        flag, out = held_flag(published), StringIO()
        call_command("review_price", str(flag.pk), "accept", "--by", BOB, stdout=out)
        assert "A worker publishes what follows" in out.getvalue()
        assert rates_of(published)[1] == 7_000_000
        with as_worker():
            assert publish_decisions() == 1
        assert rates_of(published) == own(published)

    def test_the_site_may_not_load(self, published):
        say(published, output_tokens=7_000_000)
        with pytest.raises(CommandError, match="FINOPS_PROCESS=worker"):
            call_command("load_catalog", stdout=StringIO())
