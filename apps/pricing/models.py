"""The price catalog: what sources published, version by version. Global, and append-only.

Run-time roles may read and insert, nothing else. A row is never edited: the row of the highest catalog
version stands for its key, and the others remain for the events that were priced by them.
"""

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

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


class Price(models.Model):
    """What a model costs from an instant on, at a service tier, in a window of the UTC day.

    `rates` maps meters to USD per million units, as strings with 6 decimals; `tiers` lists, in rising order,
    {"over_prompt_tokens", "rates"} for prompts longer than that. No entry means no published rate, "0.000000"
    means free. `published` keeps the source's own values under its own unit names. A withdrawn row says
    that the source no longer publishes a price for this key.
    """

    provider = models.CharField(max_length=NAME_CHARACTERS_MAX)
    model = models.CharField(max_length=NAME_CHARACTERS_MAX)
    service_tier = models.CharField(max_length=16)
    effective_from = models.DateTimeField()
    daily_from_minute = models.PositiveSmallIntegerField()
    daily_until_minute = models.PositiveSmallIntegerField()
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
