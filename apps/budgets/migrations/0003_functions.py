from pathlib import Path

from django.db import migrations

from apps.core.walls import grant

FUNCTIONS = Path(__file__).parent.parent / "functions"
NAMES = (
    "budgets_reserve", "budgets_shown", "budgets_run_refusals", "budgets_steps_of", "budgets_hold_run",
    "budgets_leave_run", "budgets_allowance", "budgets_free", "budgets_return", "budgets_extend", "budgets_enter_run", "budgets_adopt",
    "budgets_lineage", "budgets_enter_all", "budgets_bounds", "budgets_reach", "budgets_count", "budgets_apply_runs", "budgets_limit", "budgets_rolled",
    "budgets_open", "budgets_relimit", "budgets_relimit_all", "budgets_facts", "budgets_team", "budgets_cross",
    "budgets_apply", "budgets_decision_turn", "budgets_refused",
)  # fmt: skip


def create(name):
    return migrations.RunSQL((FUNCTIONS / name).read_text(), reverse_sql=migrations.RunSQL.noop)


class Migration(migrations.Migration):
    dependencies = [
        ("budgets", "0002_step_costs"),
        ("organizations", "0003_budgets"),
    ]

    operations = [
        migrations.RunSQL(
            # SQL functions name others that come later.
            "SET LOCAL check_function_bodies = off",
            reverse_sql="; ".join(f"DROP FUNCTION {name}" for name in NAMES),
        ),
        create("counters.sql"),
        create("runs.sql"),
        create("reservations.sql"),
        *(grant(f"FUNCTION {name}", app="EXECUTE", worker="EXECUTE") for name in NAMES),
    ]
