"""The price catalog, and what an organization agreed on beside it.

The catalog is global and append-only: what sources published, version by version. A row is never edited: the
row of the highest catalog version stands for its key, and the others remain for the events that were priced by
them. Contracts and model aliases belong to one organization.
"""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from apps.core.money import COST_MAX_USD
from apps.core.tenancy import TenantModel
from apps.pricing import contracts
from apps.pricing.catalog import SERVICE_TIERS
from apps.pricing.cost import DAY_MINUTES

NAME_CHARACTERS_MAX = 256


class CatalogVersion(models.Model):
    """One publication that changed something.

    Its id is the one before it plus one: of two publishers at once the second collides and tries again.
    """

    id = models.PositiveIntegerField(primary_key=True)
    source = models.CharField(max_length=64)
    source_version = models.CharField(max_length=64)
    loaded_at = models.DateTimeField(db_default=Now())
    models_added = models.PositiveIntegerField()
    prices_added = models.PositiveIntegerField()

    class Meta:
        constraints = [models.CheckConstraint(name="catalog_version_starts_at_one", condition=Q(id__gte=1))]

    def __str__(self) -> str:
        return f"{self.id} ({self.source} {self.source_version})"


class PricedModel(models.Model):
    """A model that a source prices, and how its names are recognised."""

    provider = models.CharField(max_length=NAME_CHARACTERS_MAX)
    model = models.CharField(max_length=NAME_CHARACTERS_MAX)
    match = models.JSONField()
    context_tokens_max = models.PositiveBigIntegerField(null=True)
    catalog_version = models.ForeignKey(CatalogVersion, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            # Also finds the newest row of each model.
            models.UniqueConstraint(
                name="priced_model_once_per_version", fields=["provider", "model", "catalog_version"]
            ),
            models.CheckConstraint(name="priced_model_is_named", condition=~Q(provider="") & ~Q(model="")),
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model}"


class PriceKey(models.Model):
    """What a price is the price of: a model at a service tier, in a region, from an instant on, in a window of the UTC
    day. `region` is "" for any, "regional" for any but the worldwide endpoint.
    """

    provider = models.CharField(max_length=NAME_CHARACTERS_MAX)
    model = models.CharField(max_length=NAME_CHARACTERS_MAX)
    service_tier = models.CharField(max_length=16)
    region = models.CharField(max_length=64, default="", blank=True)
    effective_from = models.DateTimeField()
    daily_from_minute = models.PositiveSmallIntegerField()
    daily_until_minute = models.PositiveSmallIntegerField()

    class Meta:
        abstract = True


class Price(PriceKey):
    """What a source says that a model costs.

    `rates` maps meters to USD per million units, as strings with 6 decimals; `tiers` lists, in rising order,
    {"over_prompt_tokens", "rates"} for prompts longer than that. No entry means no published rate, "0.000000"
    means free. `published` keeps the source's own values under its own unit names. A withdrawn row says
    that the source no longer publishes a price for this key.
    """

    rates = models.JSONField()
    tiers = models.JSONField()
    published = models.JSONField()
    withdrawn = models.BooleanField(default=False)
    source = models.CharField(max_length=64)
    source_version = models.CharField(max_length=64)
    catalog_version = models.ForeignKey(CatalogVersion, on_delete=models.PROTECT, related_name="+")

    class Meta:
        constraints = [
            # Also finds the newest row of each key, and one model's history.
            models.UniqueConstraint(
                name="price_once_per_version",
                fields=[
                    "provider",
                    "model",
                    "service_tier",
                    "region",
                    "effective_from",
                    "daily_from_minute",
                    "daily_until_minute",
                    "catalog_version",
                ],
            ),
            models.CheckConstraint(name="price_service_tier_is_known", condition=Q(service_tier__in=SERVICE_TIERS)),
            models.CheckConstraint(
                name="price_window_is_within_a_day",
                condition=Q(daily_from_minute__lt=F("daily_until_minute"), daily_until_minute__lte=DAY_MINUTES),
            ),
            models.CheckConstraint(
                name="price_withdrawn_has_no_rates", condition=Q(withdrawn=False) | Q(rates={}, tiers=[])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.model} {self.service_tier} from {self.effective_from:%Y-%m-%d}"


class PriceFlag(PriceKey):
    """A price that a person should look at: two sources differ on it, or a source changes what is already in force.

    `ours` is what stands and `theirs` what the other source, or the new publication, says: {"rates", "tiers"} as in
    `Price`; of a held change, `theirs` also has "published" and "withdrawn". `difference_percent` is the largest over
    the meters. Append-only; the same finding is flagged once.
    """

    class Kind(models.TextChoices):
        SOURCES_DIFFER = "sources_differ"
        CHANGED = "changed"

    kind = models.CharField(max_length=16, choices=Kind)
    ours = models.JSONField()
    theirs = models.JSONField()
    other_source = models.CharField(max_length=64)
    other_version = models.CharField(max_length=64)
    difference_percent = models.DecimalField(max_digits=20, decimal_places=4)
    # SHA-256 of key, kind, ours and theirs.
    digest = models.CharField(max_length=64, unique=True)
    flagged_at = models.DateTimeField(db_default=Now())

    class Meta:
        indexes = [models.Index(fields=["provider", "model"], name="price_flag_of_model")]

    def __str__(self) -> str:
        return f"{self.kind}: {self.provider}/{self.model} {self.service_tier}"


class PriceDecision(models.Model):
    """What a person, or the next publication, decided on a flag; the latest counts. Append-only."""

    class Verdict(models.TextChoices):
        ACCEPT = "accept"
        OVERRIDE = "override"
        WAIT = "wait"
        # The sources agree again, or the change was withdrawn: nothing is left to decide.
        AGREED = "agreed"

    flag = models.ForeignKey(PriceFlag, on_delete=models.PROTECT, related_name="decisions")
    verdict = models.CharField(max_length=16, choices=Verdict)
    rates = models.JSONField(null=True)
    note = models.CharField(max_length=500, blank=True)
    decided_by = models.CharField(max_length=254)
    decided_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="price_decision_override_has_rates",
                condition=Q(verdict="override", rates__isnull=False) | (~Q(verdict="override") & Q(rates__isnull=True)),
            )
        ]

    def __str__(self) -> str:
        return f"{self.verdict} on {self.flag_id} by {self.decided_by}"


class Contract(TenantModel):
    """One term of an agreement with a provider; what each kind means is in `apps.pricing.contracts`.

    Never edited but for its end, which is set once: events that it priced remain explainable by it.
    """

    kind = models.CharField(max_length=16, choices=[(kind, kind) for kind in contracts.KINDS])
    name = models.CharField(max_length=NAME_CHARACTERS_MAX)
    provider = models.CharField(max_length=NAME_CHARACTERS_MAX, blank=True)
    model = models.CharField(max_length=NAME_CHARACTERS_MAX, blank=True)
    service_tier = models.CharField(max_length=16, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    rates = models.JSONField(default=dict)
    tiers = models.JSONField(default=list)
    percent = models.DecimalField(max_digits=9, decimal_places=6, null=True)
    amount_usd = models.DecimalField(max_digits=38, decimal_places=12, null=True)
    quantity = models.PositiveIntegerField(default=1)
    monthly = models.BooleanField(default=False)
    team = models.ForeignKey("teams.Team", on_delete=models.PROTECT, related_name="+", db_constraint=False, null=True)
    note = models.CharField(max_length=500, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=254)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="pricing_contract_org_id"),
            models.CheckConstraint(
                name="contract_ends_after_it_starts",
                condition=Q(ends_at__isnull=True) | Q(ends_at__gte=F("starts_at")),
            ),
            models.CheckConstraint(
                name="contract_percent_within", condition=Q(percent__isnull=True) | Q(percent__gt=0, percent__lte=100)
            ),
            models.CheckConstraint(
                name="contract_amount_within",
                condition=Q(amount_usd__isnull=True) | Q(amount_usd__gte=0, amount_usd__lt=COST_MAX_USD),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


class ModelAlias(TenantModel):
    """A model name of this organization's calls (a deployment, an ARN) and the priced model that it means.

    Names are kept in lower case, providers by their catalog id.
    """

    provider = models.CharField(max_length=NAME_CHARACTERS_MAX)
    name = models.CharField(max_length=NAME_CHARACTERS_MAX)
    to_provider = models.CharField(max_length=NAME_CHARACTERS_MAX)
    to_model = models.CharField(max_length=NAME_CHARACTERS_MAX)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "provider", "name"], name="pricing_modelalias_means_one_thing"
            )
        ]

    def __str__(self) -> str:
        return f"{self.provider}/{self.name} is {self.to_provider}/{self.to_model}"
