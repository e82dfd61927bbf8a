from django.db import migrations, models

from apps.core.walls import grant, tenant_wall

ADD = """
ALTER TABLE usage_event ADD COLUMN budget_at timestamptz, ADD COLUMN assumed_cost_usd numeric(38, 12),
  ADD CONSTRAINT usage_event_assumed_within CHECK (assumed_cost_usd >= 0 AND assumed_cost_usd < 1e24);
CREATE INDEX usage_event_budget_at ON usage_event (organization_id, budget_at) WHERE budget_at IS NOT NULL
"""
DROP = """
DROP INDEX usage_event_budget_at;
ALTER TABLE usage_event DROP COLUMN budget_at, DROP COLUMN assumed_cost_usd
"""


class Migration(migrations.Migration):
    dependencies = [("usage", "0003_reratings")]

    operations = [
        migrations.RunSQL(ADD, reverse_sql=DROP),
        migrations.CreateModel(
            name="UncountedPosting",
            fields=[
                ("organization_id", models.BigIntegerField()),
                ("pk", models.CompositePrimaryKey("organization_id", "cause", "event_id", "side", blank=True, editable=False, primary_key=True, serialize=False)),
                ("cause", models.TextField()),
                ("event_id", models.TextField()),
                ("side", models.SmallIntegerField()),
            ],
            options={"abstract": False},
        ),
        tenant_wall("usage_uncountedposting"),
        grant("usage_uncountedposting", app="SELECT, INSERT", worker="SELECT, INSERT, DELETE"),
    ]
