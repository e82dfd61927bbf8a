"""Monthly partitions of usage_event, made and detached by two SECURITY DEFINER functions.

They are the only DDL at run time: each takes a month and nothing else, has a fixed search_path, and may be
executed by finops_worker alone. Detaching refuses while an organization with events in the month has no seal.
Either gives up after 5 seconds of waiting for its lock, so that ingestion does not queue up behind it; the next
day tries again.
"""

from datetime import date

from django.db import connection

MONTHS_AHEAD = 3

CREATE_FUNCTIONS = """
CREATE FUNCTION usage_create_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
  first date := date_trunc('month', month)::date;
  name text := format('usage_event_%s', to_char(first, 'YYYY_MM'));
BEGIN
  IF to_regclass('public.' || name) IS NULL THEN
    EXECUTE format(
      'CREATE TABLE public.%I PARTITION OF public.usage_event FOR VALUES FROM (%L) TO (%L)',
      name, first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
  END IF;
END $$;

CREATE FUNCTION usage_detach_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public, pg_temp SET lock_timeout = '5s' AS $$
DECLARE
  first date := date_trunc('month', month)::date;
  name text := format('usage_event_%s', to_char(first, 'YYYY_MM'));
  unsealed bigint;
BEGIN
  IF to_regclass('public.' || name) IS NULL THEN
    RETURN;
  END IF;
  EXECUTE format(
    'SELECT min(e.organization_id) FROM public.%I e WHERE NOT EXISTS (SELECT FROM public.usage_seal s'
    ' WHERE s.organization_id = e.organization_id AND s.month = %L)', name, first) INTO unsealed;
  IF unsealed IS NOT NULL THEN
    RAISE EXCEPTION 'organization % has events in % and no seal for it', unsealed, name;
  END IF;
  EXECUTE format('ALTER TABLE public.usage_event DETACH PARTITION public.%I', name);
  EXECUTE format('DROP TABLE public.%I', name);
END $$;

REVOKE ALL ON FUNCTION usage_create_partition(date), usage_detach_partition(date) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION usage_create_partition(date), usage_detach_partition(date) TO finops_worker
"""

DROP_FUNCTIONS = "DROP FUNCTION usage_create_partition(date), usage_detach_partition(date)"


def months() -> list[date]:
    """The months that have a partition, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT to_date(right(c.relname, 7), 'YYYY_MM') FROM pg_inherits i"
            " JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'usage_event'::regclass AND c.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY 1"
        )
        return [month for (month,) in cursor.fetchall()]


def create(month: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_create_partition(%s)", [month])


def detach(month: date) -> None:
    """Drop a month of events. Raises where an organization has events in it and no seal."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT usage_detach_partition(%s)", [month])


def default_holds_events() -> bool:
    """Whether a month had no partition when its events came: its partition cannot be made while they lie there.

    The run-time roles may not read a partition, but may ask for its size.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_size('usage_event_default') > 0")
        holds: bool = cursor.fetchone()[0]
        return holds
