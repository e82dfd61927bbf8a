import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

TABLES = "pricing_catalogversion, pricing_pricedmodel, pricing_price"


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="CatalogVersion",
            fields=[
                ("id", models.PositiveIntegerField(primary_key=True, serialize=False)),
                ("source", models.CharField(max_length=64)),
                ("source_version", models.CharField(max_length=64)),
                ("loaded_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("models_added", models.PositiveIntegerField()),
                ("prices_added", models.PositiveIntegerField()),
            ],
            options={
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("id__gte", 1)), name="catalog_version_starts_at_one"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Price",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider", models.CharField(max_length=256)),
                ("model", models.CharField(max_length=256)),
                ("service_tier", models.CharField(max_length=16)),
                ("effective_from", models.DateTimeField()),
                ("daily_from_minute", models.PositiveSmallIntegerField()),
                ("daily_until_minute", models.PositiveSmallIntegerField()),
                ("rates", models.JSONField()),
                ("tiers", models.JSONField()),
                ("published", models.JSONField()),
                ("withdrawn", models.BooleanField(default=False)),
                ("source", models.CharField(max_length=64)),
                ("source_version", models.CharField(max_length=64)),
                (
                    "catalog_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="pricing.catalogversion",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=(
                            "provider",
                            "model",
                            "service_tier",
                            "effective_from",
                            "daily_from_minute",
                            "daily_until_minute",
                            "catalog_version",
                        ),
                        name="price_once_per_version",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("service_tier__in", ("standard", "batch", "flex", "priority"))),
                        name="price_service_tier_is_known",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("daily_from_minute__lt", models.F("daily_until_minute")),
                            ("daily_until_minute__lte", 1440),
                        ),
                        name="price_window_is_within_a_day",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("withdrawn", False), models.Q(("rates", {}), ("tiers", [])), _connector="OR"
                        ),
                        name="price_withdrawn_has_no_rates",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="PricedModel",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("provider", models.CharField(max_length=256)),
                ("model", models.CharField(max_length=256)),
                ("match", models.JSONField()),
                ("context_tokens_max", models.PositiveBigIntegerField(null=True)),
                (
                    "catalog_version",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="+",
                        to="pricing.catalogversion",
                    ),
                ),
            ],
            options={
                "constraints": [
                    models.UniqueConstraint(
                        fields=("provider", "model", "catalog_version"), name="priced_model_once_per_version"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("provider", ""), _negated=True), models.Q(("model", ""), _negated=True)
                        ),
                        name="priced_model_is_named",
                    ),
                ],
            },
        ),
        # Append-only for everyone at run time: no UPDATE, no DELETE.
        migrations.RunSQL(
            f"GRANT SELECT, INSERT ON {TABLES} TO finops_app, finops_worker",
            reverse_sql=f"REVOKE ALL ON {TABLES} FROM finops_app, finops_worker",
        ),
    ]
