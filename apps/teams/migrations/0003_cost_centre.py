from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('teams', '0002_rules_and_owners'),
    ]

    operations = [
        migrations.AddField(
            model_name='team',
            name='cost_centre',
            field=models.CharField(max_length=64, null=True),
        ),
    ]
