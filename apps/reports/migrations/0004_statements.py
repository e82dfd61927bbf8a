import apps.usage.columns
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0006_provider_ids'),
        ('reports', '0003_views_of_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='Adjustment',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('kind', models.CharField(choices=[('adjustment', 'Adjustment'), ('credit_note', 'Credit Note'), ('dispute', 'Dispute'), ('true_up', 'True Up'), ('exchange', 'Exchange'), ('tax', 'Tax')], max_length=11)),
                ('booked_month', models.DateField()),
                ('of_month', models.DateField()),
                ('team', models.CharField(max_length=256, null=True)),
                ('provider', models.CharField(blank=True, max_length=256)),
                ('model', models.CharField(blank=True, max_length=256)),
                ('name', models.CharField(max_length=256)),
                ('cost_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38)),
                ('reason', models.CharField(max_length=500)),
                ('refers_to', models.CharField(blank=True, max_length=32)),
                ('source', models.CharField(blank=True, max_length=64)),
                ('booked_at', models.DateTimeField()),
                ('booked_by', models.CharField(max_length=320)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'indexes': [models.Index(fields=['organization', 'booked_month'], name='reports_adjustment_booked')],
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_adjustment_org_id'), models.CheckConstraint(condition=models.Q(models.Q(('cost_usd__gte', Decimal('-1000000000000000000000000')), ('cost_usd__lt', Decimal('1000000000000000000000000'))), ('cost_usd__isnull', True), _connector='OR'), name='reports_adjustment_cost_within'), models.CheckConstraint(condition=models.Q(('booked_month__day', 1), ('of_month__day', 1)), name='reports_adjustment_first_of_month')],
            },
        ),
        migrations.CreateModel(
            name='ChargebackTerms',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('currency', models.CharField(default='USD', max_length=3)),
                ('close_after_hours', models.PositiveSmallIntegerField(default=72)),
                ('closes_itself', models.BooleanField(default=False)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization',), name='reports_chargebackterms_once'), models.CheckConstraint(condition=models.Q(('close_after_hours__lte', 360)), name='reports_chargebackterms_within_15_days')],
            },
        ),
        migrations.CreateModel(
            name='ExchangeRate',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField()),
                ('currency', models.CharField(max_length=3)),
                ('rate', models.DecimalField(decimal_places=10, max_digits=24)),
                ('source', models.CharField(max_length=200)),
                ('entered_at', models.DateTimeField()),
                ('entered_by', models.CharField(max_length=320)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'indexes': [models.Index(fields=['organization', 'month', 'currency', '-id'], name='reports_exchangerate_newest')],
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_exchangerate_org_id'), models.CheckConstraint(condition=models.Q(('rate__gt', 0), ('rate__lt', 1000000000000)), name='reports_exchangerate_positive')],
            },
        ),
        migrations.CreateModel(
            name='MonthStep',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('month', models.DateField()),
                ('step', models.CharField(choices=[('review', 'Review'), ('reopen', 'Reopen'), ('fence', 'Fence'), ('fail', 'Fail'), ('seal', 'Seal')], max_length=6)),
                ('at', models.DateTimeField()),
                ('by', models.CharField(max_length=320)),
                ('note', models.TextField(blank=True)),
                ('facts', models.JSONField(default=dict)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'indexes': [models.Index(fields=['organization', 'month', '-id'], name='reports_monthstep_newest')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('step__in', ['fence', 'seal'])), fields=('organization', 'month', 'step'), name='reports_monthstep_fenced_and_sealed_once'), models.CheckConstraint(condition=models.Q(('month__day', 1)), name='reports_monthstep_first_of_month')],
            },
        ),
        migrations.CreateModel(
            name='Statement',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('number', models.BigIntegerField()),
                ('month', models.DateField()),
                ('team', models.CharField(max_length=256, null=True)),
                ('events', models.BigIntegerField()),
                ('unpriced_events', models.BigIntegerField()),
                ('usage_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38)),
                ('total_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38, null=True)),
                ('currency', models.CharField(max_length=3)),
                ('total', models.DecimalField(decimal_places=4, max_digits=38, null=True)),
                ('sha256', models.CharField(max_length=64)),
                ('document', models.BinaryField()),
                ('sealed_at', models.DateTimeField()),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_statement_org_id'), models.UniqueConstraint(fields=('organization', 'number'), name='reports_statement_number_once'), models.UniqueConstraint(fields=('organization', 'month', 'team'), name='reports_statement_once', nulls_distinct=False), models.CheckConstraint(condition=models.Q(models.Q(('usage_usd__gte', Decimal('-1000000000000000000000000')), ('usage_usd__lt', Decimal('1000000000000000000000000'))), ('usage_usd__isnull', True), _connector='OR'), name='reports_statement_usage_within'), models.CheckConstraint(condition=models.Q(models.Q(('total_usd__gte', Decimal('-1000000000000000000000000')), ('total_usd__lt', Decimal('1000000000000000000000000'))), ('total_usd__isnull', True), _connector='OR'), name='reports_statement_total_usd_within'), models.CheckConstraint(condition=models.Q(models.Q(('total__gte', Decimal('-1000000000000000000000000')), ('total__lt', Decimal('1000000000000000000000000'))), ('total__isnull', True), _connector='OR'), name='reports_statement_total_within')],
            },
        ),
        tenant_wall("reports_chargebackterms"),
        grant("reports_chargebackterms", app="SELECT, INSERT, UPDATE", worker="SELECT"),
        tenant_wall("reports_exchangerate"),
        grant("reports_exchangerate", app="SELECT, INSERT", worker="SELECT"),
        tenant_wall("reports_monthstep"),
        grant("reports_monthstep", app="SELECT, INSERT", worker="SELECT, INSERT"),
        # What is final is final: nobody at run time has a privilege to change or take away a statement.
        tenant_wall("reports_statement"),
        grant("reports_statement", app="SELECT", worker="SELECT, INSERT"),
        tenant_wall("reports_adjustment"),
        grant("reports_adjustment", app="SELECT, INSERT", worker="SELECT"),
    ]
