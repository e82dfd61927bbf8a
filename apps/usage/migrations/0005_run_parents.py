from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("usage", "0004_budgets")]

    operations = [
        migrations.AddIndex(
            model_name="run",
            index=models.Index(
                fields=["organization_id", "parent_run_id", "first_at"],
                name="usage_run_parent",
                condition=models.Q(parent_run_id__isnull=False),
            ),
        ),
    ]
