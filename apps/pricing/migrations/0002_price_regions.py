from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("pricing", "0001_prices")]

    operations = [
        migrations.RemoveConstraint(
            model_name='price',
            name='price_once_per_version',
        ),
        migrations.RemoveConstraint(
            model_name='price',
            name='price_service_tier_is_known',
        ),
        migrations.AddField(
            model_name='price',
            name='region',
            field=models.CharField(blank=True, default='', max_length=64),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.UniqueConstraint(fields=('provider', 'model', 'service_tier', 'region', 'effective_from', 'daily_from_minute', 'daily_until_minute', 'catalog_version'), name='price_once_per_version'),
        ),
        migrations.AddConstraint(
            model_name='price',
            constraint=models.CheckConstraint(condition=models.Q(('service_tier__in', ('standard', 'batch', 'flex', 'priority', 'fast'))), name='price_service_tier_is_known'),
        ),
    ]
