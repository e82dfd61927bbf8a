import apps.usage.models
from decimal import Decimal
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('budgets', '0001_budgets'),
    ]

    operations = [
        migrations.CreateModel(
            name='StepCost',
            fields=[
                ('organization_id', models.BigIntegerField()),
                ('pk', models.CompositePrimaryKey('organization_id', 'grain', blank=True, editable=False, primary_key=True, serialize=False)),
                ('grain', models.TextField()),
                ('workflow', models.TextField()),
                ('task_type', models.TextField(null=True)),
                ('step', models.BigIntegerField(null=True)),
                ('provider', models.TextField()),
                ('model', models.TextField()),
                ('calls', models.BigIntegerField()),
                ('p95_usd', apps.usage.models.Usd(decimal_places=12, max_digits=38)),
                ('reckoned_at', models.DateTimeField()),
            ],
            options={
                'indexes': [models.Index(fields=['organization_id', 'workflow'], name='budgets_stepcost_of')],
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('p95_usd__gte', 0), ('p95_usd__lt', Decimal('1000000000000000000000000'))), ('p95_usd__isnull', True), _connector='OR'), name='budgets_stepcost_p95_within')],
            },
        ),
        tenant_wall("budgets_stepcost"),
        grant("budgets_stepcost", app="SELECT", worker="SELECT, INSERT, UPDATE, DELETE"),
    ]
