"""What must be true of the migrated database, as queries that find what breaks it.

A rule's query answers one text per offence; no rows mean that it holds. The exceptions stand here by name,
each with its reason, and an exception that names nothing any more is an offence too.
"""

from dataclasses import dataclass
from typing import Any

import psycopg
from django.apps import apps

from apps.core.tenancy import TenantManager

RUN_TIME_ROLES = ["finops_app", "finops_worker"]

# Tables with organization_id and no wall: they are read before any organization is known.
DIRECTORY = {
    "organizations_membership": "sign-in finds a person's organizations by the person",
    "organizations_apikeyhash": "a request's organization is found by the hash of its key",
    "organizations_invitationhash": "an invitation's organization is found by the hash of its token",
    "organizations_domainowner": "sign-in finds an organization by the domain of an address",
    "organizations_ssoconnection": "an identity provider's answer finds its organization",
    "reports_exporter": "workers find the organizations that asked for an export; it holds nothing else",
    "alerts_subscriber": "workers find the organizations that have a channel; it holds nothing else",
    "alerts_mailer": "workers find the organizations that mail statements; it holds nothing else",
}
# Tables of no organization.
GLOBAL = {
    "organizations_organization": "the organizations themselves: a slug is looked up before its organization is known",
    "accounts_user": "a person may belong to several organizations",
    "accounts_staffact": "what operators did, to people too, who may belong to several organizations",
    "accounts_impersonation": "staff's own record of looking as a member: it outlives the organization",
    "accounts_impersonationend": "staff's own record of looking as a member: it outlives the organization",
    "pricing_catalogversion": "published prices are the same for everybody",
    "pricing_pricedmodel": "published prices are the same for everybody",
    "pricing_price": "published prices are the same for everybody",
    "pricing_priceflag": "what a person should look at in published prices",
    "pricing_pricedecision": "what a person decided on them",
    "account_emailaddress": "allauth: addresses of people",
    "account_emailconfirmation": "allauth: addresses of people",
    "mfa_authenticator": "allauth: second factors of people, secrets encrypted",
    "usersessions_usersession": "allauth: where people are signed in",
    "socialaccount_socialapp": "allauth: identity providers of organizations, secrets encrypted",
    "socialaccount_socialaccount": "allauth: which account an identity provider's user is",
    "socialaccount_socialtoken": "allauth: unused, tokens are not stored",
    "auth_group": "Django: unused, comes with permissions",
    "auth_group_permissions": "Django: unused, comes with permissions",
    "auth_permission": "Django: unused, comes with content types",
    "django_admin_log": "Django: unused, the admin changes nothing itself; accounts_staffact says what staff did",
    "django_content_type": "Django: names of models",
    "django_migrations": "Django: which migrations ran",
    "django_session": "Django: a session knows a person, never an organization",
}
# Rows that are never changed; who may delete them, for retention.
APPEND_ONLY = {
    "reports_exchangerate": [],
    "reports_monthstep": [],
    "reports_statement": [],
    "reports_adjustment": [],
    "audit_auditentry": [],
    "accounts_staffact": [],
    "accounts_impersonation": [],
    "accounts_impersonationend": [],
    "pricing_catalogversion": [],
    "pricing_price": [],
    "pricing_pricedmodel": [],
    "pricing_priceflag": [],
    "pricing_pricedecision": [],
    "usage_event": ["finops_worker"],
    "usage_eventkey": ["finops_worker"],
    "usage_posting": [],
    "usage_seal": [],
    "reports_trueup": [],
    "planner_planversion": [],
    "planner_plandecision": [],
}
# Functions that run with their owner's rights: the only DDL at run time, each takes a month and nothing else.
DEFINER_FUNCTIONS = {
    "usage_create_partition(date)": "makes the partition of one month",
    "usage_detach_partition(date)": "drops the partition of one sealed month",
}
# Amounts with no bound of their own.
SUMS = {
    "usage_delta": "sums of a batch of bounded events",
    "usage_userdelta": "sums of a batch of bounded events",
    "usage_rundelta": "sums of a batch of bounded events",
    "usage_hourrollup": "sums of deltas",
    "usage_dayrollup": "sums of deltas",
    "usage_userhourrollup": "sums of deltas",
    "usage_userdayrollup": "sums of deltas",
    "usage_facetrollup": "sums of a day of bounded events",
    "usage_run": "sums of deltas",
    "usage_seal": "sums of a month of bounded events",
    "usage_reratingline": "sums of bounded events",
    "insights_reading": "sums of rollups and runs",
}
# The only column of a row that may change.
COLUMNS = {
    "pricing_contract.ends_at": "a term of a contract is never edited but for its end",
    "reports_allocationpool.until_month": "a pool is never edited but for its end",
    **{
        f"reports_dispute.{column}": "what was disputed is never edited, but for its answer"
        for column in (
            "state",
            "answer",
            "answered_at",
            "answered_by",
            "to_team",
            "from_day",
            "moved_usd",
            "booked_month",
        )
    },
}

PARAMETERS: dict[str, Any] = {
    "roles": RUN_TIME_ROLES,
    "directory": list(DIRECTORY),
    "global": list(GLOBAL),
    "append_only": list(APPEND_ONLY),
    "deleted_from": [f"{table} {role}" for table, roles in APPEND_ONLY.items() for role in roles],
    "definers": list(DEFINER_FUNCTIONS),
    "sums": list(SUMS),
    "columns": list(COLUMNS),
    "hot": "^(usage|audit)_|^budgets_(counter|reservation|runtally|runcount|crossing)$|^alerts_delivery$"
    "|^insights_(reading|watch)$",
    "wall": "(organization_id = (NULLIF(current_setting('app.org'::text, true), ''::text))::bigint)",
    "definer_path": "search_path=pg_catalog, public, pg_temp",
}


@dataclass(frozen=True)
class Rule:
    """`says` is what must be so and what to do instead; `query` finds what breaks it."""

    says: str
    query: str


# Tables of ours, partitions among them; `org` is the position of organization_id, null where there is none.
_TABLES = """
WITH tables AS (
  SELECT c.oid, c.relname::text AS name, c.relispartition AS is_partition, c.relrowsecurity AS has_security,
    c.relowner AS owner, c.relname ~ %(hot)s AS is_hot, COALESCE(c.relacl, acldefault('r', c.relowner)) AS acl,
    (SELECT attnum FROM pg_attribute WHERE attrelid = c.oid AND attname = 'organization_id') AS org
  FROM pg_class c
  WHERE c.relkind IN ('r', 'p', 'f') AND c.relnamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype = 'e')),
columns AS (
  SELECT t.*, a.attname::text AS attribute, format_type(a.atttypid, a.atttypmod) AS type, a.attacl
  FROM tables t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped),
granted AS (
  SELECT t.name, t.is_partition, g.grantee, COALESCE(r.rolname::text, 'PUBLIC') AS role, g.privilege_type AS privilege,
    g.is_grantable
  FROM tables t CROSS JOIN aclexplode(t.acl) g LEFT JOIN pg_roles r ON r.oid = g.grantee WHERE g.grantee <> t.owner),
functions AS (
  SELECT p.oid, format('%%s(%%s)', p.proname, pg_get_function_identity_arguments(p.oid)) AS name,
    format('%%s(%%s)', p.proname, oidvectortypes(p.proargtypes)) AS signature, p.prosecdef, p.proconfig, p.proowner,
    COALESCE(p.proacl, acldefault('f', p.proowner)) AS acl
  FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
  WHERE n.nspname NOT LIKE 'pg\\_%%' AND n.nspname <> 'information_schema'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e'))
"""

RULES: dict[str, Rule] = {
    "wall": Rule(
        "Every table with organization_id has row-level security by the bare equality, for reading and for writing: use"
        " `tenant_wall` in its migration, or name it in DIRECTORY with a reason.",
        """SELECT name FROM tables t WHERE org IS NOT NULL AND NOT is_partition AND name <> ALL (%(directory)s)
           AND (NOT has_security OR 1 <> (SELECT count(*) FROM pg_policy WHERE polrelid = t.oid) OR NOT EXISTS (
             SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polpermissive AND p.polcmd = '*'
             AND p.polroles = '{0}' AND pg_get_expr(p.polqual, t.oid) = %(wall)s
             AND pg_get_expr(p.polwithcheck, t.oid) = %(wall)s))""",
    ),
    "organization": Rule(
        "Every table has organization_id: add it, or name the table in GLOBAL with a reason.",
        "SELECT name FROM tables WHERE org IS NULL AND NOT is_partition AND name <> ALL (%(global)s)",
    ),
    "exceptions": Rule(
        "Every exception names a table that needs it: take the name off its list.",
        """SELECT name FROM unnest(%(directory)s::text[]) name
             WHERE name NOT IN (SELECT name FROM tables WHERE org IS NOT NULL)
           UNION ALL SELECT name FROM unnest(%(global)s::text[]) name
             WHERE name NOT IN (SELECT name FROM tables WHERE org IS NULL)
           UNION ALL SELECT name FROM unnest(%(append_only)s::text[] || %(sums)s::text[]) name
             WHERE name NOT IN (SELECT name FROM tables)
           UNION ALL SELECT name FROM unnest(%(definers)s::text[]) name
             WHERE name NOT IN (SELECT signature FROM functions WHERE prosecdef)""",
    ),
    "schema": Rule(
        "Everything lives in the schema public, where these rules look.",
        """SELECT nspname::text FROM pg_namespace
           WHERE nspname NOT LIKE 'pg\\_%%' AND nspname NOT IN ('information_schema', 'public')""",
    ),
    "hot key": Rule(
        "Every primary key, unique constraint and index of a table that grows with calls begins with organization_id.",
        """SELECT i.indexrelid::regclass::text FROM pg_index i JOIN tables t ON t.oid = i.indrelid
           WHERE t.is_hot AND t.org IS DISTINCT FROM i.indkey[0]
           UNION ALL SELECT name FROM tables t WHERE is_hot AND NOT EXISTS (
             SELECT FROM pg_index i WHERE i.indrelid = t.oid AND i.indisprimary)""",
    ),
    "hot target": Rule(
        "No table that grows with calls is the target of a foreign key: keep the id without a constraint.",
        """SELECT k.conname::text FROM pg_constraint k JOIN tables t ON t.oid = k.confrelid
           WHERE k.contype = 'f' AND t.is_hot""",
    ),
    "composite foreign key": Rule(
        "A foreign key between tables of organizations holds organization_id on both sides: declare the Django field"
        " with db_constraint=False and use `composite_key` in its migration.",
        """SELECT k.conname::text FROM pg_constraint k JOIN tables f ON f.oid = k.conrelid
           JOIN tables t ON t.oid = k.confrelid WHERE k.contype = 'f' AND f.org IS NOT NULL AND t.org IS NOT NULL
           AND (k.conkey[1] <> f.org OR k.confkey[1] <> t.org)""",
    ),
    "partition grant": Rule(
        "No partition is granted to anybody: a policy of the parent does not bind who names the partition.",
        "SELECT format('%%s to %%s', name, role) FROM granted WHERE is_partition",
    ),
    "privilege": Rule(
        "Run-time roles may SELECT, INSERT, UPDATE and DELETE whole tables as granted by name, and nothing else:"
        " TRUNCATE is not bound by row-level security.",
        """SELECT format('%%s on %%s to %%s', privilege, name, role) FROM granted
           WHERE role <> ALL (%(roles)s) OR is_grantable
             OR privilege NOT IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
           UNION ALL SELECT format('%%s.%%s', name, attribute) FROM columns
             WHERE attacl IS NOT NULL AND format('%%s.%%s', name, attribute) <> ALL (%(columns)s)
           UNION ALL SELECT format('default of %%s', defaclrole::regrole)
             FROM pg_default_acl d, aclexplode(d.defaclacl) g WHERE g.grantee <> d.defaclrole""",
    ),
    "append-only": Rule(
        "What is append-only is granted neither UPDATE nor DELETE: corrections are new rows.",
        """SELECT format('%%s on %%s to %%s', privilege, name, role) FROM granted WHERE name = ANY (%(append_only)s)
           AND privilege NOT IN ('SELECT', 'INSERT')
           AND (privilege <> 'DELETE' OR format('%%s %%s', name, role) <> ALL (%(deleted_from)s))""",
    ),
    "ownership": Rule(
        "Run-time roles own nothing, create nothing and are members of nobody: migrations run as finops_owner.",
        """SELECT format('%%s owns %%s', relowner::regrole, oid::regclass) FROM pg_class
             WHERE relowner::regrole::text = ANY (%(roles)s)
           UNION ALL SELECT format('%%s owns %%s', proowner::regrole, name) FROM functions
             WHERE proowner::regrole::text = ANY (%(roles)s)
           UNION ALL SELECT format('%%s creates in %%s', role, nspname)
             FROM unnest(%(roles)s::text[]) role, pg_namespace n
             WHERE nspname NOT LIKE 'pg\\_%%' AND has_schema_privilege(role, n.oid, 'CREATE')
           UNION ALL SELECT format('%%s creates schemas', role) FROM unnest(%(roles)s::text[]) role
             WHERE has_database_privilege(role, current_database(), 'CREATE')
           UNION ALL SELECT format('%%s is %%s', m.member::regrole, m.roleid::regrole) FROM pg_auth_members m
             WHERE m.member::regrole::text = ANY (%(roles)s)
           UNION ALL SELECT format('%%s is mighty', rolname) FROM pg_roles WHERE rolname = ANY (%(roles)s)
             AND (rolsuper OR rolbypassrls OR rolcreaterole OR rolcreatedb OR rolreplication)""",
    ),
    "trigger": Rule(
        "No triggers and no rules: the service that writes does it, in one transaction.",
        """SELECT tgname::text FROM pg_trigger WHERE NOT tgisinternal
           UNION ALL SELECT evtname::text FROM pg_event_trigger
           UNION ALL SELECT rulename::text FROM pg_rewrite r JOIN tables t ON t.oid = r.ev_class""",
    ),
    "definer": Rule(
        "No function runs with its owner's rights but those in DEFINER_FUNCTIONS. Each has a fixed search_path, with"
        " pg_temp last (unnamed it comes first, and a temporary type would run as the owner); only finops_worker"
        " may execute it.",
        """SELECT name FROM functions WHERE prosecdef AND signature <> ALL (%(definers)s)
           UNION ALL SELECT format('settings of %%s', name) FROM functions
             WHERE prosecdef AND NOT COALESCE(%(definer_path)s = ANY (proconfig), false)
           UNION ALL SELECT format('%%s to %%s', f.name, COALESCE(r.rolname, 'PUBLIC'))
             FROM functions f CROSS JOIN aclexplode(f.acl) g LEFT JOIN pg_roles r ON r.oid = g.grantee
             WHERE f.prosecdef AND g.grantee <> f.proowner AND r.rolname IS DISTINCT FROM 'finops_worker'""",
    ),
    "view": Rule(
        "No materialized views, and views only WITH (security_invoker = true): others see past row-level security.",
        """SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND (relkind = 'm'
           OR relkind = 'v' AND NOT COALESCE('security_invoker=true' = ANY (reloptions), false))""",
    ),
    "money": Rule(
        "Amounts end in _usd and are NUMERIC(38,12), with an upper bound unless SUMS says why not:"
        " `'NaN' >= 0` is true in Postgres.",
        """SELECT format('%%s.%%s is %%s', name, attribute, type) FROM columns
             WHERE attribute ~ '_usd$' AND type <> 'numeric(38,12)'
           UNION ALL SELECT format('%%s.%%s has no upper bound', name, attribute) FROM columns c
             WHERE attribute ~ '_usd$' AND NOT is_partition AND name <> ALL (%(sums)s) AND NOT EXISTS (
               SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'c'
               AND pg_get_constraintdef(k.oid) ~ format('\\m%%s <=? ', attribute))""",
    ),
    "float": Rule(
        "No column is a float: counts are integers or NUMERIC, amounts are NUMERIC(38,12).",
        "SELECT format('%%s.%%s', name, attribute) FROM columns WHERE type ~ '^(real|double precision|money)'",
    ),
}


def offences(connection: psycopg.Connection[Any], rule: str) -> list[str]:
    """What breaks the rule."""
    rows = connection.execute(f"{_TABLES} {RULES[rule].query}", PARAMETERS).fetchall()
    return sorted(text for (text,) in rows)


def tables_without_closed_manager(connection: psycopg.Connection[Any]) -> list[str]:
    """Tables behind the second wall that Django does not know, or knows by a manager that answers unasked."""
    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}
    rows = connection.execute(
        f"{_TABLES} SELECT name FROM tables WHERE org IS NOT NULL AND NOT is_partition AND name <> ALL (%(directory)s)",
        PARAMETERS,
    ).fetchall()
    return sorted(
        name for (name,) in rows if name not in models or type(models[name]._meta.default_manager) is not TenantManager
    )
