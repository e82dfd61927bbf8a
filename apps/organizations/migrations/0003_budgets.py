from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('organizations', '0002_reratings'),
    ]

    operations = [
        migrations.AddField(
            model_name='organization',
            name='is_budgeted',
            field=models.BooleanField(default=False),
        ),
        migrations.AddField(
            model_name='organization',
            name='unpriced_policy',
            field=models.CharField(choices=[('refuse', 'Refuse'), ('ceiling', 'Ceiling'), ('allow', 'Allow')], default='refuse', max_length=10),
        ),
    ]
