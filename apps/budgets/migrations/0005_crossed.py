from pathlib import Path

from django.db import migrations

from apps.core.walls import grant

FUNCTIONS = Path(__file__).parent.parent / "functions"


class Migration(migrations.Migration):
    dependencies = [("budgets", "0004_raised_counters")]

    operations = [
        migrations.RunSQL(
            (FUNCTIONS / "crossings.sql").read_text(), reverse_sql="DROP FUNCTION budgets_crossed(bigint)"
        ),
        grant("FUNCTION budgets_crossed", app="EXECUTE", worker="EXECUTE"),
        # It answers whether a refusal is to be told.
        migrations.RunSQL((FUNCTIONS / "reservations.sql").read_text(), reverse_sql=migrations.RunSQL.noop),
    ]
