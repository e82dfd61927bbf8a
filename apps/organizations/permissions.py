"""Who may do what: the one matrix of roles, and the scopes of API keys."""

from enum import StrEnum

from apps.organizations.models import Membership

Role = Membership.Role

# What people call a role, and what it is for.
ROLE_LABELS: dict[str, str] = {
    Role.OWNER: "Owner",
    Role.ADMIN: "Admin",
    Role.FINANCE: "Finance",
    Role.ENGINEER: "Engineer",
    Role.LEAD: "Team lead",
    Role.VIEWER: "Viewer",
}
ROLE_MEANS: dict[str, str] = {
    Role.OWNER: "everything, and who else is an owner",
    Role.ADMIN: "everything but owners and deleting the organization",
    Role.FINANCE: "sees all, sets budgets, prices and alerts, approves plans, and closes months",
    Role.ENGINEER: "sees all, names and plans workflows, and can stop them",
    Role.LEAD: "sees what belongs to the teams it leads, answers their signals, and disputes their statements",
    Role.VIEWER: "sees all, changes nothing",
}


class Permission(StrEnum):
    VIEW_SPEND = "view_spend"
    VIEW_EVENTS = "view_events"
    VIEW_STATEMENTS = "view_statements"
    VIEW_MEMBERS = "view_members"
    VIEW_KEYS = "view_keys"
    MANAGE_NAMES = "manage_names"
    MANAGE_KEYS = "manage_keys"
    MANAGE_PRICES = "manage_prices"
    MANAGE_BUDGETS = "manage_budgets"
    APPROVE_RAISES = "approve_raises"
    STOP = "stop"
    MANAGE_ALERTS = "manage_alerts"
    MANAGE_STATEMENTS = "manage_statements"
    DISPUTE_STATEMENTS = "dispute_statements"
    MANAGE_PLANS = "manage_plans"
    APPROVE_PLANS = "approve_plans"
    ANSWER_SIGNALS = "answer_signals"
    MANAGE_MEMBERS = "manage_members"
    MANAGE_ORGANIZATION = "manage_organization"
    VIEW_AUDIT = "view_audit"


_READ = frozenset({Permission.VIEW_SPEND, Permission.VIEW_EVENTS, Permission.VIEW_STATEMENTS, Permission.VIEW_MEMBERS})

ROLE_PERMISSIONS: dict[str, frozenset[Permission]] = {
    Role.OWNER: frozenset(Permission),
    Role.ADMIN: frozenset(Permission) - {Permission.MANAGE_ORGANIZATION},
    Role.FINANCE: _READ
    | {
        Permission.MANAGE_NAMES,
        Permission.MANAGE_PRICES,
        Permission.MANAGE_BUDGETS,
        Permission.APPROVE_RAISES,
        Permission.STOP,
        Permission.MANAGE_ALERTS,
        Permission.MANAGE_STATEMENTS,
        Permission.DISPUTE_STATEMENTS,
        Permission.MANAGE_PLANS,
        Permission.APPROVE_PLANS,
        Permission.ANSWER_SIGNALS,
        Permission.VIEW_AUDIT,
    },
    Role.ENGINEER: _READ
    | {
        Permission.VIEW_KEYS,
        Permission.MANAGE_NAMES,
        Permission.MANAGE_PLANS,
        Permission.ANSWER_SIGNALS,
        Permission.STOP,
    },
    # Of their own teams alone: a page that cannot be cut to a team is closed to them.
    Role.LEAD: _READ | {Permission.DISPUTE_STATEMENTS, Permission.ANSWER_SIGNALS},
    Role.VIEWER: _READ,
}


class Scope(StrEnum):
    INGEST = "ingest"
    DECIDE = "decide"
    READ = "read"
    MANAGE = "manage"
    BACKFILL = "backfill"


SCOPE_MEANS: dict[str, str] = {
    Scope.INGEST: "sends usage events",
    Scope.DECIDE: "asks before a call, and settles what it reserved",
    Scope.READ: "reads spend, events, budgets and statements",
    Scope.MANAGE: "changes names, budgets, prices, plans, alerts, signals, statements, keys and members below admin",
    Scope.BACKFILL: "sends events older than 35 days",
}


def role_may(role: str, permission: Permission) -> bool:
    return permission in ROLE_PERMISSIONS.get(role, frozenset())
