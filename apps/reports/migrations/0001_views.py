import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        ('organizations', '0004_people_and_closing'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='View',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('query', models.TextField()),
                ('is_shared', models.BooleanField(default=False)),
                ('created_at', models.DateTimeField()),
                ('changed_at', models.DateTimeField()),
                ('maker', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='reports_view_org_id'), models.UniqueConstraint(fields=('organization', 'maker', 'name'), name='reports_view_name_once'), models.CheckConstraint(condition=models.Q(('name', ''), _negated=True), name='reports_view_has_a_name')],
            },
        ),
        tenant_wall("reports_view"),
        grant("reports_view", app="SELECT, INSERT, UPDATE, DELETE", worker=""),
    ]
