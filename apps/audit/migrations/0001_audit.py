from django.db import migrations, models

from apps.core.walls import grant, tenant_wall


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Head',
            fields=[
                ('organization_id', models.BigIntegerField(primary_key=True, serialize=False)),
                ('sequence', models.BigIntegerField(default=0)),
                ('hash', models.BinaryField(max_length=32)),
            ],
            options={
                'db_table': 'audit_head',
            },
        ),
        migrations.CreateModel(
            name='AuditEntry',
            fields=[
                ('pk', models.CompositePrimaryKey('organization_id', 'sequence', blank=True, editable=False, primary_key=True, serialize=False)),
                ('organization_id', models.BigIntegerField()),
                ('sequence', models.BigIntegerField()),
                ('at', models.DateTimeField()),
                ('actor', models.CharField(max_length=320)),
                ('action', models.CharField(max_length=100)),
                ('subject', models.CharField(max_length=300)),
                ('data', models.JSONField()),
                ('previous_hash', models.BinaryField(max_length=32)),
                ('hash', models.BinaryField(max_length=32)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('sequence__gte', 1)), name='audit_sequence_from_one')],
            },
        ),
        tenant_wall("audit_auditentry"),
        grant("audit_auditentry", app="SELECT, INSERT", worker="SELECT, INSERT"),
        tenant_wall("audit_head"),
        grant("audit_head", app="SELECT, INSERT, UPDATE", worker="SELECT, INSERT, UPDATE"),
    ]
