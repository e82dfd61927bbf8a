import apps.usage.models
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall

ADD = "ALTER TABLE usage_event ADD COLUMN contract_id bigint, ADD COLUMN rule_set smallint"
DROP = "ALTER TABLE usage_event DROP COLUMN contract_id, DROP COLUMN rule_set"


class Migration(migrations.Migration):
    dependencies = [("usage", "0002_more_meters")]

    operations = [
        migrations.RunSQL(ADD, reverse_sql=DROP),
        migrations.CreateModel(
            name='ReratingLine',
            fields=[
                ('organization_id', models.BigIntegerField()),
                ('pk', models.CompositePrimaryKey('organization_id', 'rerating_id', 'grain', blank=True, editable=False, primary_key=True, serialize=False)),
                ('rerating_id', models.UUIDField()),
                ('grain', models.UUIDField()),
                ('team', models.TextField(null=True)),
                ('month', models.DateField()),
                ('booked_month', models.DateField()),
                ('provider', models.TextField()),
                ('model', models.TextField()),
                ('events', models.BigIntegerField(default=0)),
                ('newly_priced', models.BigIntegerField(default=0)),
                ('newly_unpriced', models.BigIntegerField(default=0)),
                ('before_usd', apps.usage.models.Usd(decimal_places=12, default=0, max_digits=38)),
                ('after_usd', apps.usage.models.Usd(decimal_places=12, default=0, max_digits=38)),
                ('posted_events', models.BigIntegerField(default=0)),
                ('posted_usd', apps.usage.models.Usd(decimal_places=12, default=0, max_digits=38)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.AddField(
            model_name='openmonth',
            name='previewed_at',
            field=models.DateTimeField(null=True),
        ),
        migrations.AddField(
            model_name='posting',
            name='contract_id',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='posting',
            name='rule_set',
            field=models.SmallIntegerField(null=True),
        ),
        migrations.AddField(
            model_name='posting',
            name='tier_assumed',
            field=models.BooleanField(null=True),
        ),
        migrations.CreateModel(
            name='Rerating',
            fields=[
                ('organization_id', models.BigIntegerField()),
                ('pk', models.CompositePrimaryKey('organization_id', 'rerating_id', blank=True, editable=False, primary_key=True, serialize=False)),
                ('rerating_id', models.UUIDField()),
                ('state', models.TextField(choices=[('previewing', 'Previewing'), ('previewed', 'Previewed'), ('posting', 'Posting'), ('stopped', 'Stopped'), ('posted', 'Posted'), ('stale', 'Stale')])),
                ('phase', models.TextField()),
                ('reason', models.TextField()),
                ('actor', models.TextField()),
                ('created_at', models.DateTimeField()),
                ('start', models.DateTimeField()),
                ('end', models.DateTimeField()),
                ('filters', models.JSONField()),
                ('catalog_version', models.IntegerField()),
                ('rule_set', models.SmallIntegerField()),
                ('book_digest', models.TextField(null=True)),
                ('previewed_at', models.DateTimeField(null=True)),
                ('posted_by', models.TextField(null=True)),
                ('posted_at', models.DateTimeField(null=True)),
                ('expected', models.BigIntegerField(default=0)),
                ('scanned', models.BigIntegerField(default=0)),
                ('at_hour', models.DateTimeField(null=True)),
                ('at_instant', models.DateTimeField(null=True)),
                ('at_event', models.TextField(null=True)),
                ('worked_at', models.DateTimeField(null=True)),
            ],
            options={
                'indexes': [models.Index(fields=['organization_id', '-created_at'], name='usage_rerating_newest')],
            },
        ),
        tenant_wall("usage_rerating"),
        grant("usage_rerating", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE"),
        tenant_wall("usage_reratingline"),
        grant("usage_reratingline", app="SELECT", worker="SELECT, INSERT, UPDATE, DELETE"),
    ]
