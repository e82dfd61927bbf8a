import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0004_people_and_closing'),
        ('reports', '0002_exports'),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AlterField(
            model_name='view',
            name='maker',
            field=models.ForeignKey(db_index=False, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL),
        ),
        migrations.AddField(
            model_name='view',
            name='made_by_key',
            field=models.CharField(blank=True, default='', max_length=32),
            preserve_default=False,
        ),
        migrations.AddConstraint(
            model_name='view',
            constraint=models.UniqueConstraint(condition=models.Q(('maker', None)), fields=('organization', 'name'), name='reports_view_of_keys_name_once'),
        ),
        migrations.AddConstraint(
            model_name='view',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('made_by_key', ''), ('maker__isnull', False)), models.Q(('is_shared', True), ('maker', None), models.Q(('made_by_key', ''), _negated=True)), _connector='OR'), name='reports_view_of_a_person_or_of_all'),
        ),
    ]
