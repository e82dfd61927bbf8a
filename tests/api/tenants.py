"""Organizations with keys and without people: hashing an owner's password would cost more than most tests do."""

from typing import Any

from apps.organizations.models import Organization
from apps.organizations.services import create_organization, issue_key
from tests.world import SCOPES, Api, unique


def make_org(zone: str = "UTC", **fields: Any) -> Organization:
    """`fields` are columns of the organization, such as `retention_months`."""
    name = unique("org")
    org = create_organization(name=name, owner_email=f"owner@{name}.example", zone=zone)
    for field, value in fields.items():
        setattr(org, field, value)
    org.save(update_fields=fields)
    return org


def make_api(org: Organization, *scopes: str, **pins: Any) -> Api:
    """A client with a key of its own: all scopes where none are named; `pins` as `issue_key` takes them."""
    return Api(issue_key(org=org, name="tests", scopes=scopes or SCOPES, **pins).secret)
