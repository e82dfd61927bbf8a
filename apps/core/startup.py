"""What a process checks before it serves."""

from django.core.exceptions import ImproperlyConfigured
from django.db import connection

POSTGRES_MINIMUM = 180000


def refuse_unsafe_role() -> None:
    """Raise `ImproperlyConfigured` where row-level security would not bind this process.

    Superusers, BYPASSRLS roles and owners of tables see every organization's rows; a member of an owner does
    after SET ROLE.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_user, rolsuper, rolbypassrls, current_setting('server_version_num')::int,"
            " EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND pg_has_role(c.relowner, 'MEMBER'))"
            " FROM pg_roles WHERE rolname = current_user"
        )
        role, is_superuser, bypasses, version, owns = cursor.fetchone()
    connection.close()
    if version < POSTGRES_MINIMUM:
        raise ImproperlyConfigured(
            f"PostgreSQL {POSTGRES_MINIMUM // 10000} or later is needed, the server says {version // 10000}."
        )
    for wrong, why in ((is_superuser, "is a superuser"), (bypasses, "has BYPASSRLS"), (owns, "owns tables")):
        if wrong:
            raise ImproperlyConfigured(
                f"The database role {role} {why}, so row-level security would not bind it."
                " Point DATABASE_URL at finops_app (site) or finops_worker (Celery)."
            )
