from decimal import Decimal

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from apps.core.walls import composite_key, grant, tenant_wall

CATALOG = "pricing_catalogversion, pricing_pricedmodel, pricing_price"


class Migration(migrations.Migration):
    dependencies = [
        ("organizations", "0001_organizations"),
        ("pricing", "0002_price_regions"),
        ("teams", "0001_names"),
    ]

    operations = [
        migrations.CreateModel(
            name='Contract',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('price', 'price'), ('discount', 'discount'), ('throughput', 'throughput'), ('seats', 'seats'), ('grant', 'grant'), ('credit', 'credit')], max_length=16)),
                ('name', models.CharField(max_length=256)),
                ('provider', models.CharField(blank=True, max_length=256)),
                ('model', models.CharField(blank=True, max_length=256)),
                ('service_tier', models.CharField(blank=True, max_length=16)),
                ('starts_at', models.DateTimeField()),
                ('ends_at', models.DateTimeField(null=True)),
                ('rates', models.JSONField(default=dict)),
                ('tiers', models.JSONField(default=list)),
                ('percent', models.DecimalField(decimal_places=6, max_digits=9, null=True)),
                ('amount_usd', models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ('quantity', models.PositiveIntegerField(default=1)),
                ('monthly', models.BooleanField(default=False)),
                ('note', models.CharField(blank=True, max_length=500)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.CharField(max_length=254)),
            ],
        ),
        migrations.CreateModel(
            name='ModelAlias',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=256)),
                ('name', models.CharField(max_length=256)),
                ('to_provider', models.CharField(max_length=256)),
                ('to_model', models.CharField(max_length=256)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
            ],
        ),
        migrations.CreateModel(
            name='PriceDecision',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('verdict', models.CharField(choices=[('accept', 'Accept'), ('override', 'Override'), ('wait', 'Wait'), ('agreed', 'Agreed')], max_length=16)),
                ('rates', models.JSONField(null=True)),
                ('note', models.CharField(blank=True, max_length=500)),
                ('decided_by', models.CharField(max_length=254)),
                ('decided_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='PriceFlag',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=256)),
                ('model', models.CharField(max_length=256)),
                ('service_tier', models.CharField(max_length=16)),
                ('region', models.CharField(blank=True, default='', max_length=64)),
                ('effective_from', models.DateTimeField()),
                ('daily_from_minute', models.PositiveSmallIntegerField()),
                ('daily_until_minute', models.PositiveSmallIntegerField()),
                ('kind', models.CharField(choices=[('sources_differ', 'Sources Differ'), ('changed', 'Changed')], max_length=16)),
                ('ours', models.JSONField()),
                ('theirs', models.JSONField()),
                ('other_source', models.CharField(max_length=64)),
                ('other_version', models.CharField(max_length=64)),
                ('difference_percent', models.DecimalField(decimal_places=4, max_digits=20)),
                ('digest', models.CharField(max_length=64, unique=True)),
                ('flagged_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.AddField(
            model_name='contract',
            name='organization',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization'),
        ),
        migrations.AddField(
            model_name='contract',
            name='team',
            field=models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='teams.team'),
        ),
        migrations.AddField(
            model_name='modelalias',
            name='organization',
            field=models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization'),
        ),
        migrations.AddIndex(
            model_name='priceflag',
            index=models.Index(fields=['provider', 'model'], name='price_flag_of_model'),
        ),
        migrations.AddField(
            model_name='pricedecision',
            name='flag',
            field=models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='decisions', to='pricing.priceflag'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.UniqueConstraint(fields=('organization', 'id'), name='pricing_contract_org_id'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.CheckConstraint(condition=models.Q(('ends_at__isnull', True), ('ends_at__gte', models.F('starts_at')), _connector='OR'), name='contract_ends_after_it_starts'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.CheckConstraint(condition=models.Q(('percent__isnull', True), models.Q(('percent__gt', 0), ('percent__lte', 100)), _connector='OR'), name='contract_percent_within'),
        ),
        migrations.AddConstraint(
            model_name='contract',
            constraint=models.CheckConstraint(condition=models.Q(('amount_usd__isnull', True), models.Q(('amount_usd__gte', 0), ('amount_usd__lt', Decimal('1000000000000000000000000'))), _connector='OR'), name='contract_amount_within'),
        ),
        migrations.AddConstraint(
            model_name='modelalias',
            constraint=models.UniqueConstraint(fields=('organization', 'provider', 'name'), name='pricing_modelalias_means_one_thing'),
        ),
        migrations.AddConstraint(
            model_name='pricedecision',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('rates__isnull', False), ('verdict', 'override')), models.Q(models.Q(('verdict', 'override'), _negated=True), ('rates__isnull', True)), _connector='OR'), name='price_decision_override_has_rates'),
        ),
        # Published prices are the same for everybody: what the site may do for one organization never reaches them.
        migrations.RunSQL(
            f"REVOKE INSERT ON {CATALOG} FROM finops_app", reverse_sql=f"GRANT INSERT ON {CATALOG} TO finops_app"
        ),
        # Flags and decisions are append-only too; a person decides on the site.
        grant("pricing_priceflag", app="SELECT", worker="SELECT, INSERT"),
        grant("pricing_pricedecision", app="SELECT, INSERT", worker="SELECT, INSERT"),
        tenant_wall("pricing_contract"),
        grant("pricing_contract", app="SELECT, INSERT, UPDATE (ends_at)", worker="SELECT"),
        composite_key("pricing_contract", "team_id", "teams_team"),
        tenant_wall("pricing_modelalias"),
        grant("pricing_modelalias", app="SELECT, INSERT, UPDATE, DELETE", worker="SELECT"),
    ]
