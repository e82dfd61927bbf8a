"""Migration operations that put a table behind row-level security and grant what run time needs."""

from django.db import migrations

ORG_IS_CURRENT = "organization_id = NULLIF(current_setting('app.org', true), '')::bigint"


def grant(table: str, *, app: str, worker: str) -> migrations.RunSQL:
    """Privileges of the two run-time roles; neither owns anything."""
    statements = [f"GRANT {app} ON {table} TO finops_app"] if app else []
    statements += [f"GRANT {worker} ON {table} TO finops_worker"] if worker else []
    return migrations.RunSQL(
        ";\n".join(statements),
        reverse_sql=f"REVOKE ALL ON {table} FROM finops_app, finops_worker",
    )


def tenant_wall(table: str) -> migrations.RunSQL:
    """Row-level security by a bare equality on app.org, for reading and for writing."""
    return migrations.RunSQL(
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;\n"
        f"CREATE POLICY tenant ON {table} USING ({ORG_IS_CURRENT}) WITH CHECK ({ORG_IS_CURRENT})",
        reverse_sql=f"DROP POLICY tenant ON {table};\nALTER TABLE {table} DISABLE ROW LEVEL SECURITY",
    )


def composite_key(table: str, column: str, to_table: str) -> migrations.RunSQL:
    """A foreign key that cannot point into another organization."""
    name = f"{table}_{column}_same_organization"
    return migrations.RunSQL(
        f"ALTER TABLE {table} ADD CONSTRAINT {name} FOREIGN KEY (organization_id, {column})"
        f" REFERENCES {to_table} (organization_id, id) DEFERRABLE INITIALLY DEFERRED",
        reverse_sql=f"ALTER TABLE {table} DROP CONSTRAINT {name}",
    )
