from django.db import connection


def waiting(org_id: int) -> tuple[int, int, int]:
    """Messages that wait, seconds since the first of them was due, crossings without deliveries. Inside `tenant(org)`.

    Indexes: alerts_delivery_due, budgets_crossing_waiting.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - min(next_attempt_at)))::bigint,"
            " (SELECT count(*) FROM budgets_crossing WHERE organization_id = %(org)s AND dispatched_at IS NULL)"
            " FROM alerts_delivery WHERE organization_id = %(org)s AND next_attempt_at IS NOT NULL",
            {"org": org_id},
        )
        messages, overdue_seconds, crossings = cursor.fetchone()
        return messages, overdue_seconds, crossings
