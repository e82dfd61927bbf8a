from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0005_run_parents")]

    operations = [
        migrations.AddField("run", "said_outcome", models.TextField(null=True)),
        migrations.AddField("run", "said_units", models.BigIntegerField(null=True)),
        migrations.AddField("run", "said_ended_at", models.DateTimeField(null=True)),
    ]
