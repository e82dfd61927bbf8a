"""Who may do what: the one matrix of roles, and the scopes of API keys."""

from enum import StrEnum

from apps.organizations.models import Membership

Role = Membership.Role


class Permission(StrEnum):
    VIEW_SPEND = "view_spend"
    VIEW_EVENTS = "view_events"
    VIEW_STATEMENTS = "view_statements"
    MANAGE_NAMES = "manage_names"
    MANAGE_KEYS = "manage_keys"
    MANAGE_PRICES = "manage_prices"
    MANAGE_BUDGETS = "manage_budgets"
    APPROVE_RAISES = "approve_raises"
    STOP = "stop"
    MANAGE_ALERTS = "manage_alerts"
    VIEW_AUDIT = "view_audit"


_READ = frozenset({Permission.VIEW_SPEND, Permission.VIEW_EVENTS, Permission.VIEW_STATEMENTS})

ROLE_PERMISSIONS: dict[str, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(Permission),
    Role.FINANCE: _READ
    | {
        Permission.MANAGE_NAMES,
        Permission.MANAGE_PRICES,
        Permission.MANAGE_BUDGETS,
        Permission.APPROVE_RAISES,
        Permission.STOP,
        Permission.MANAGE_ALERTS,
        Permission.VIEW_AUDIT,
    },
    Role.ENGINEER: _READ | {Permission.MANAGE_NAMES, Permission.STOP},
    Role.VIEWER: _READ,
}


class Scope(StrEnum):
    INGEST = "ingest"
    DECIDE = "decide"
    READ = "read"
    MANAGE = "manage"
    BACKFILL = "backfill"


def role_may(role: str, permission: Permission) -> bool:
    return permission in ROLE_PERMISSIONS.get(role, frozenset())
