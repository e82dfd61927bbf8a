from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("budgets", "0003_functions")]

    operations = [
        migrations.AddIndex(
            model_name="counter",
            index=models.Index(
                fields=["organization_id", "limit_until"],
                condition=models.Q(limit_until__isnull=False),
                name="budgets_counter_raised",
            ),
        ),
    ]
