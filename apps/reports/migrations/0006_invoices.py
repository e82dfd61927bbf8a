import apps.usage.columns
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models

from apps.core.walls import composite_key, grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('reports', '0005_allocation_pools'),
    ]

    operations = [
        migrations.CreateModel(
            name='Invoice',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=256)),
                ('account', models.CharField(blank=True, max_length=256)),
                ('month', models.DateField()),
                ('number', models.CharField(blank=True, max_length=100)),
                ('format', models.CharField(max_length=32)),
                ('currency', models.CharField(max_length=3)),
                ('total', models.DecimalField(decimal_places=12, max_digits=38)),
                ('total_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38)),
                ('per_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38, null=True)),
                ('rate_source', models.CharField(blank=True, max_length=300)),
                ('days', models.CharField(choices=[('utc', 'Utc'), ('local', 'Local')], max_length=5)),
                ('line_count', models.IntegerField()),
                ('left_out', models.IntegerField(default=0)),
                ('file_name', models.CharField(blank=True, max_length=256)),
                ('sha256', models.CharField(max_length=64)),
                ('state', models.CharField(choices=[('imported', 'Imported'), ('trued_up', 'Trued Up')], default='imported', max_length=10)),
                ('imported_at', models.DateTimeField()),
                ('imported_by', models.CharField(max_length=254)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
        ),
        migrations.CreateModel(
            name='InvoiceLine',
            fields=[
                ('pk', models.CompositePrimaryKey('organization_id', 'invoice_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.BigIntegerField()),
                ('invoice_id', models.BigIntegerField()),
                ('number', models.IntegerField()),
                ('row', models.IntegerField()),
                ('day', models.DateField(null=True)),
                ('account', models.CharField(blank=True, max_length=256)),
                ('model', models.CharField(blank=True, max_length=256)),
                ('meter', models.CharField(blank=True, max_length=32)),
                ('quantity', models.BigIntegerField(null=True)),
                ('amount', models.DecimalField(decimal_places=12, max_digits=38)),
                ('amount_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38)),
                ('kind', models.CharField(max_length=8)),
                ('text', models.CharField(blank=True, max_length=256)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('amount_usd__gte', Decimal('-1000000000000000000000000')), ('amount_usd__lt', Decimal('1000000000000000000000000'))), ('amount_usd__isnull', True), _connector='OR'), name='reports_invoiceline_amount_within')],
            },
        ),
        migrations.CreateModel(
            name='TrueUp',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('provider', models.CharField(max_length=256)),
                ('month', models.DateField()),
                ('bucket', models.CharField(max_length=16)),
                ('team', models.CharField(max_length=256, null=True)),
                ('cost_usd', apps.usage.columns.Usd(decimal_places=12, max_digits=38)),
                ('booked_at', models.DateTimeField()),
                ('booked_by', models.CharField(max_length=254)),
                ('invoice', models.ForeignKey(db_constraint=False, db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='reports.invoice')),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
        ),
        migrations.CreateModel(
            name='BillMapping',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('fields', models.JSONField()),
                ('saved_at', models.DateTimeField()),
                ('saved_by', models.CharField(max_length=254)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_billmapping_org_id'), models.UniqueConstraint(fields=('organization', 'name'), name='reports_billmapping_name_once'), models.CheckConstraint(condition=models.Q(('name', ''), _negated=True), name='reports_billmapping_has_a_name')],
            },
        ),
        migrations.AddIndex(
            model_name='invoice',
            index=models.Index(fields=['organization', 'month', 'provider'], name='reports_invoice_month'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.UniqueConstraint(fields=('organization', 'id'), name='reports_invoice_org_id'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.UniqueConstraint(fields=('organization', 'sha256', 'provider', 'month'), name='reports_invoice_file_once'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.UniqueConstraint(fields=('organization', 'provider', 'account', 'month', 'number'), name='reports_invoice_number_once'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('currency', 'USD'), ('per_usd__isnull', True)), models.Q(models.Q(('currency', 'USD'), _negated=True), ('per_usd__gt', 0)), _connector='OR'), name='reports_invoice_rate_unless_usd'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('total_usd__gte', Decimal('-1000000000000000000000000')), ('total_usd__lt', Decimal('1000000000000000000000000'))), ('total_usd__isnull', True), _connector='OR'), name='reports_invoice_total_within'),
        ),
        migrations.AddConstraint(
            model_name='invoice',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('per_usd__gte', 0), ('per_usd__lt', Decimal('1000000000000000000000000'))), ('per_usd__isnull', True), _connector='OR'), name='reports_invoice_rate_within'),
        ),
        migrations.AddIndex(
            model_name='trueup',
            index=models.Index(fields=['organization', 'month', 'provider'], name='reports_trueup_month'),
        ),
        migrations.AddConstraint(
            model_name='trueup',
            constraint=models.UniqueConstraint(fields=('organization', 'id'), name='reports_trueup_org_id'),
        ),
        migrations.AddConstraint(
            model_name='trueup',
            constraint=models.CheckConstraint(condition=models.Q(('cost_usd__gt', Decimal('-1000000000000000000000000')), ('cost_usd__lt', Decimal('1000000000000000000000000'))), name='reports_trueup_cost_within'),
        ),
        *(tenant_wall(f"reports_{table}") for table in ("invoice", "invoiceline", "billmapping", "trueup")),
        grant("reports_invoice", app="SELECT, INSERT, UPDATE, DELETE", worker="SELECT"),
        grant("reports_invoiceline", app="SELECT, INSERT, DELETE", worker="SELECT"),
        grant("reports_billmapping", app="SELECT, INSERT, UPDATE, DELETE", worker=""),
        grant("reports_trueup", app="SELECT, INSERT", worker="SELECT"),
        composite_key("reports_invoiceline", "invoice_id", "reports_invoice"),
        composite_key("reports_trueup", "invoice_id", "reports_invoice"),
    ]
