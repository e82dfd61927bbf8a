from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('reports', '0008_disputes'),
    ]

    operations = [
        migrations.AddField(
            model_name='adjustment',
            name='request_id',
            field=models.CharField(max_length=128, null=True),
        ),
        migrations.AddConstraint(
            model_name='adjustment',
            constraint=models.UniqueConstraint(fields=('organization', 'request_id'), name='reports_adjustment_request_once'),
        ),
    ]
