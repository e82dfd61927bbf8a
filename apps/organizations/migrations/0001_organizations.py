import django.contrib.postgres.fields
import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name='Organization',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('slug', models.SlugField(max_length=60, unique=True)),
                ('name', models.CharField(max_length=100)),
                ('state', models.CharField(choices=[('active', 'Active'), ('suspended', 'Suspended')], default='active', max_length=10)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('create_names_on_first_sight', models.BooleanField(default=False)),
                ('retention_months', models.PositiveSmallIntegerField(blank=True, null=True)),
                ('facts_version', models.BigIntegerField(default=1)),
                ('names_posted_version', models.BigIntegerField(default=1)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('retention_months__isnull', True), models.Q(('retention_months__gte', 1), ('retention_months__lte', 120)), _connector='OR'), name='organization_keeps_1_to_120_months')],
            },
        ),
        migrations.CreateModel(
            name='ApiKeyHash',
            fields=[
                ('hash', models.BinaryField(max_length=32, primary_key=True, serialize=False)),
                ('api_key_id', models.BigIntegerField()),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='organizations.organization')),
            ],
        ),
        migrations.CreateModel(
            name='Membership',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('role', models.CharField(choices=[('owner', 'Owner'), ('admin', 'Admin'), ('finance', 'Finance'), ('engineer', 'Engineer'), ('viewer', 'Viewer')], max_length=10)),
                ('joined_at', models.DateTimeField(auto_now_add=True)),
                ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                ('organization', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'user'), name='membership_once')],
            },
        ),
        migrations.CreateModel(
            name='ApiKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('hint', models.CharField(max_length=24)),
                ('scopes', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=20), size=None)),
                ('team', models.CharField(max_length=256, null=True)),
                ('project', models.CharField(max_length=256, null=True)),
                ('environment', models.CharField(max_length=256, null=True)),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('created_by', models.CharField(max_length=320)),
                ('expires_at', models.DateTimeField(null=True)),
                ('revoked_at', models.DateTimeField(null=True)),
                ('last_used_at', models.DateTimeField(null=True)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'id'), name='organizations_apikey_org_id')],
            },
        ),
        migrations.CreateModel(
            name='Zone',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('effective_month', models.DateField(null=True)),
                ('name', models.CharField(max_length=64)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
            ],
            options={
                'constraints': [models.UniqueConstraint(fields=('organization', 'effective_month'), name='organizations_zone_one_a_month', nulls_distinct=False), models.CheckConstraint(condition=models.Q(('effective_month__isnull', True), ('effective_month__day', 1), _connector='OR'), name='organizations_zone_from_first_of_month')],
            },
        ),
        # Directory tables: read before a tenant is known.
        grant("organizations_organization", app="SELECT, INSERT, UPDATE", worker="SELECT, UPDATE"),
        grant("SEQUENCE organizations_organization_id_seq", app="USAGE", worker=""),
        grant("organizations_membership", app="SELECT, INSERT, UPDATE, DELETE", worker="SELECT"),
        grant("organizations_apikeyhash", app="SELECT, INSERT, DELETE", worker="SELECT"),
        # Tenant tables.
        tenant_wall("organizations_zone"),
        grant("organizations_zone", app="SELECT, INSERT, DELETE", worker="SELECT"),
        tenant_wall("organizations_apikey"),
        grant("organizations_apikey", app="SELECT, INSERT, UPDATE", worker="SELECT"),
    ]
