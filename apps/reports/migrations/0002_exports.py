import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.walls import composite_key, grant, tenant_wall


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0004_people_and_closing'),
        ('reports', '0001_views'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Exporter',
            fields=[
                ('organization', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='+', serialize=False, to='organizations.organization')),
            ],
        ),
        migrations.CreateModel(
            name='Export',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('team', models.CharField(blank=True, max_length=256)),
                ('title', models.CharField(max_length=300)),
                ('format', models.CharField(choices=[('csv', 'Csv'), ('xlsx', 'Xlsx')], max_length=4)),
                ('question', models.JSONField()),
                ('state', models.CharField(choices=[('queued', 'Queued'), ('running', 'Running'), ('done', 'Done'), ('failed', 'Failed'), ('expired', 'Expired')], default='queued', max_length=10)),
                ('rows_done', models.IntegerField(default=0)),
                ('row_count', models.IntegerField(null=True)),
                ('size_bytes', models.BigIntegerField(default=0)),
                ('error', models.CharField(blank=True, max_length=300)),
                ('tries', models.SmallIntegerField(default=0)),
                ('asked_at', models.DateTimeField()),
                ('claimed_until', models.DateTimeField(null=True)),
                ('finished_at', models.DateTimeField(null=True)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                ('person', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
            ],
            options={
                'indexes': [models.Index(fields=['organization', '-asked_at'], name='reports_export_newest')],
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_export_org_id'), models.CheckConstraint(condition=models.Q(models.Q(('claimed_until__isnull', False), ('state', 'running')), models.Q(models.Q(('state', 'running'), _negated=True), ('claimed_until__isnull', True)), _connector='OR'), name='reports_export_running_is_claimed')],
            },
        ),
        migrations.CreateModel(
            name='ExportPart',
            fields=[
                ('pk', models.CompositePrimaryKey('organization_id', 'export_id', 'number', blank=True, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.BigIntegerField()),
                ('export_id', models.BigIntegerField()),
                ('number', models.IntegerField()),
                ('body', models.BinaryField()),
            ],
        ),
        grant("reports_exporter", app="SELECT, INSERT", worker="SELECT"),
        tenant_wall("reports_export"),
        grant("reports_export", app="SELECT, INSERT, DELETE", worker="SELECT, UPDATE, DELETE"),
        tenant_wall("reports_exportpart"),
        grant("reports_exportpart", app="SELECT, DELETE", worker="SELECT, INSERT, DELETE"),
        composite_key("reports_exportpart", "export_id", "reports_export"),
    ]
