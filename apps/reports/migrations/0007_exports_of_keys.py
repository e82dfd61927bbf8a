import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0004_people_and_closing'),
        ('reports', '0006_invoices'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='export',
            name='person',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='export',
            name='made_by_key',
            field=models.CharField(blank=True, default='', max_length=32),
            preserve_default=False,
        ),
        migrations.AlterField(
            model_name='export',
            name='format',
            field=models.CharField(choices=[('csv', 'Csv'), ('xlsx', 'Xlsx'), ('focus_csv', 'Focus')], max_length=9),
        ),
        migrations.AddField(
            model_name='export',
            name='unpriced_events',
            field=models.BigIntegerField(null=True),
        ),
        migrations.AddConstraint(
            model_name='export',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('made_by_key', ''), ('person__isnull', False)), models.Q(('person', None), models.Q(('made_by_key', ''), _negated=True)), _connector='OR'), name='reports_export_of_a_person_or_a_key'),
        ),
    ]
