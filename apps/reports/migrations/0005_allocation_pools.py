import django.contrib.postgres.constraints
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models

from apps.core.walls import composite_key, grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0006_provider_ids'),
        ('pricing', '0003_contracts_and_reviews'),
        ('reports', '0004_statements'),
    ]

    operations = [
        migrations.CreateModel(
            name='AllocationPool',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('position', models.PositiveSmallIntegerField()),
                ('source', models.CharField(choices=[('amount', 'amount'), ('team', 'team'), ('contract', 'contract'), ('unattributed', 'unattributed')], max_length=16)),
                ('method', models.CharField(choices=[('direct', 'direct'), ('usage', 'usage'), ('proportional', 'proportional'), ('fixed', 'fixed'), ('even', 'even'), ('central', 'central')], max_length=16)),
                ('amount_usd', models.DecimalField(decimal_places=12, max_digits=38, null=True)),
                ('team', models.CharField(blank=True, max_length=256)),
                ('to_team', models.CharField(blank=True, max_length=256)),
                ('driver', models.CharField(blank=True, max_length=32)),
                ('base', models.CharField(blank=True, max_length=32)),
                ('percents', models.JSONField(default=dict)),
                ('capacity', models.BigIntegerField(null=True)),
                ('from_month', models.DateField()),
                ('until_month', models.DateField(null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.CharField(max_length=254)),
                ('contract', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='pricing.contract')),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                ('replaces', models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='reports.allocationpool')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_pool_org_id'), django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('name', '='), (models.Func('from_month', 'until_month', models.Value('[)'), function='daterange'), '&&')], name='reports_pool_name_once_a_month'), django.contrib.postgres.constraints.ExclusionConstraint(expressions=[('organization', '='), ('position', '='), (models.Func('from_month', 'until_month', models.Value('[)'), function='daterange'), '&&')], name='reports_pool_order_once_a_month'), models.CheckConstraint(condition=models.Q(('until_month__isnull', True), ('until_month__gte', models.F('from_month')), _connector='OR'), name='reports_pool_ends_after_it_begins'), models.CheckConstraint(condition=models.Q(('amount_usd__isnull', True), models.Q(('amount_usd__gt', 0), ('amount_usd__lt', Decimal('1000000000000000000000000'))), _connector='OR'), name='reports_pool_amount_within'), models.CheckConstraint(condition=models.Q(models.Q(('amount_usd__isnull', False), ('contract', None), ('source', 'amount'), ('team', '')), models.Q(('amount_usd__isnull', True), ('contract', None), ('source', 'team'), models.Q(('team', ''), _negated=True)), models.Q(('amount_usd__isnull', True), ('contract__isnull', False), ('source', 'contract'), ('team', '')), models.Q(('amount_usd__isnull', True), ('contract', None), ('source', 'unattributed'), ('team', '')), _connector='OR'), name='reports_pool_has_its_source'), models.CheckConstraint(condition=models.Q(('capacity__isnull', True), ('capacity__gt', 0), _connector='OR'), name='reports_pool_capacity_above_zero')],
            },
        ),
        tenant_wall("reports_allocationpool"),
        grant("reports_allocationpool", app="SELECT, INSERT, UPDATE (until_month)", worker="SELECT"),
        composite_key("reports_allocationpool", "contract_id", "pricing_contract"),
        composite_key("reports_allocationpool", "replaces_id", "reports_allocationpool"),
    ]
