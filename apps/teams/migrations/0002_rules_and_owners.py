import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models

from apps.core.walls import composite_key, grant, tenant_wall

# A move that has not come yet can be called off; an alias and a rule can be removed.
REMOVABLE = ("teams_ownership", "teams_alias")


class Migration(migrations.Migration):

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ('organizations', '0003_budgets'),
        ('teams', '0001_names'),
    ]

    operations = [
        migrations.AddField(
            model_name='workflow',
            name='owner',
            field=models.ForeignKey(db_constraint=False, db_index=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.CreateModel(
            name='AttributionRule',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100)),
                ('position', models.IntegerField()),
                ('when', models.JSONField()),
                ('since', models.DateTimeField()),
                ('facts_version', models.BigIntegerField()),
                ('created_at', models.DateTimeField(auto_now_add=True)),
                ('changed_at', models.DateTimeField()),
                ('changed_by', models.CharField(max_length=320)),
                ('organization', models.ForeignKey(db_index=False, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='organizations.organization')),
                ('project', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='teams.project')),
                ('team', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='teams.team')),
                ('workflow', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='teams.workflow')),
            ],
            options={
                'constraints': [models.UniqueConstraint(deferrable=models.Deferrable['DEFERRED'], fields=('organization', 'position'), name='teams_attributionrule_one_a_position'), models.CheckConstraint(condition=models.Q(('team__isnull', False), ('project__isnull', False), ('workflow__isnull', False), _connector='OR'), name='teams_attributionrule_gives_something')],
            },
        ),
        tenant_wall("teams_attributionrule"),
        grant("teams_attributionrule", app="SELECT, INSERT, UPDATE, DELETE", worker="SELECT"),
        composite_key("teams_attributionrule", "team_id", "teams_team"),
        composite_key("teams_attributionrule", "project_id", "teams_project"),
        composite_key("teams_attributionrule", "workflow_id", "teams_workflow"),
        *(
            migrations.RunSQL(f"GRANT DELETE ON {table} TO finops_app", f"REVOKE DELETE ON {table} FROM finops_app")
            for table in REMOVABLE
        ),
    ]
