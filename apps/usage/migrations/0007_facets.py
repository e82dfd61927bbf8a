import apps.usage.columns
import django.contrib.postgres.fields
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('usage', '0006_said_of_runs'),
    ]

    operations = [
        migrations.CreateModel(
            name='FacetDay',
            fields=[
                ('organization_id', models.BigIntegerField()),
                ('pk', models.CompositePrimaryKey('organization_id', 'day_start', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day_start', models.DateTimeField()),
                ('facets', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
                ('left_out', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), size=None)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='FacetRollup',
            fields=[
                ('organization_id', models.BigIntegerField()),
                ('team', models.TextField(null=True)),
                ('team_id', models.BigIntegerField(null=True)),
                ('project', models.TextField(null=True)),
                ('project_id', models.BigIntegerField(null=True)),
                ('workflow', models.TextField(null=True)),
                ('workflow_id', models.BigIntegerField(null=True)),
                ('task_type', models.TextField(null=True)),
                ('provider', models.TextField()),
                ('model', models.TextField()),
                ('service_tier', models.TextField(null=True)),
                ('environment', models.TextField(null=True)),
                ('key_id', models.BigIntegerField()),
                ('status', models.TextField()),
                ('priced', models.BooleanField()),
                ('events', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('input_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('cache_read_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('cache_write_5m_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('cache_write_1h_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('output_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('reasoning_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('audio_input_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('audio_output_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('image_input_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('image_output_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('requests', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('images', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('audio_milliseconds', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('characters', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('searches', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('audio_cache_read_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('image_cache_read_tokens', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('video_milliseconds', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('file_searches', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('code_sessions', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('pages', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('cost_usd', apps.usage.columns.Usd(decimal_places=12, default=0, max_digits=38)),
                ('unpriced_events', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('errors', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('retries', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('escalations', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('input_events', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('ln_input_micro', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('ln_input_sq_pico', apps.usage.columns.Count(decimal_places=0, default=0, max_digits=38)),
                ('pk', models.CompositePrimaryKey('organization_id', 'day_start', 'facet', 'value', 'line', blank=True, editable=False, primary_key=True, serialize=False)),
                ('day_start', models.DateTimeField()),
                ('facet', models.TextField()),
                ('value', models.TextField()),
                ('line', models.BigIntegerField()),
            ],
            options={
                'abstract': False,
            },
        ),
        tenant_wall("usage_facetday"),
        grant("usage_facetday", app="SELECT", worker="SELECT, INSERT, DELETE"),
        tenant_wall("usage_facetrollup"),
        grant("usage_facetrollup", app="SELECT", worker="SELECT, INSERT, DELETE"),
    ]
