"""An organization with an audit log that is looked at, and whoever writes to it from outside."""

from typing import Any

import psycopg

from apps.audit.services import record
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from tests import database


def act(org: Organization, subject: str, *, actor: object = "alice", action: str = "tests.acted", **data: Any) -> None:
    with tenant(org):
        record(org=org, actor=actor, action=action, subject=subject, data=data)


def tamper(statement: str, org: Organization) -> None:
    """As finops_owner, whom nothing stops."""
    with psycopg.connect(database.owner_url()) as owner:
        owner.execute(statement, {"org": org.pk})
