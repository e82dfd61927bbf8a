from django.db import connection


def pending_deltas(org_id: int) -> tuple[int, int]:
    """How many deltas wait, and the age of the oldest in seconds: their ids say when they were made.

    Index: the primary key.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*),"
            " GREATEST(0, EXTRACT(EPOCH FROM clock_timestamp() - min(uuid_extract_timestamp(delta_id))))::bigint"
            " FROM usage_delta WHERE organization_id = %s",
            [org_id],
        )
        waiting, oldest_seconds = cursor.fetchone()
        return waiting, oldest_seconds
