"""The world of the tests: Alice owns Acme, Bob is a member of it, and Charlie is a stranger at Globex."""

import itertools
import json
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.test import Client

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.organizations.models import Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, create_organization, issue_key

SCOPES = ("ingest", "decide", "read", "manage", "backfill")
PASSWORD = "correct-horse-battery"

_numbers = itertools.count(1)


def unique(prefix: str) -> str:
    """A name that no other test uses, in no other process."""
    return f"{prefix}-{os.environ.get('PYTEST_XDIST_WORKER', 'main')}-{os.getpid()}-{next(_numbers)}"


@dataclass
class Api:
    """A client of the API with one key."""

    secret: str
    client: Client = field(default_factory=Client)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret}"}

    def get(self, path: str, **query: Any) -> Any:
        return self.client.get(f"/api/v1/{path}", query_params=query or None, headers=self.headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self.client.post(
            f"/api/v1/{path}", data, content_type=headers.pop("content_type", "application/json"),
            headers={**self.headers, **headers},
        )  # fmt: skip

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A request of any other method; the body is JSON."""
        return self.client.generic(
            method.upper(), f"/api/v1/{path}", json.dumps(body), content_type="application/json", headers=self.headers
        )

    def ask(self, path: str, body: Any) -> Any:
        """The response to a decision or lease, asked for again while the store is busy, as callers are told to do."""
        for _ in range(100):
            response = self.post(path, body)
            if response.status_code != 503:
                break
        return response

    def send(self, *events: dict[str, Any]) -> dict[str, Any]:
        """Send events; the 202's body."""
        response = self.post("events", list(events))
        assert response.status_code == 202, response.content
        body: dict[str, Any] = response.json()
        return body


@dataclass
class Tenant:
    org: Organization
    api: Api
    owner: User


@dataclass
class World:
    acme: Tenant
    globex: Tenant
    bob: User

    @property
    def alice(self) -> User:
        return self.acme.owner

    @property
    def charlie(self) -> User:
        return self.globex.owner


def make_tenant(prefix: str, person: str = "owner", zone: str = "UTC", scopes: tuple[str, ...] = SCOPES) -> Tenant:
    name = unique(prefix)
    email = f"{person}@{name}.example"
    org = create_organization(name=name, owner_email=email, password=PASSWORD, zone=zone)
    issued = issue_key(org=org, name="tests", scopes=scopes)
    return Tenant(org, Api(issued.secret), User.objects.get(email=email))


def make_world() -> World:
    acme = make_tenant("acme", "alice")
    globex = make_tenant("globex", "charlie")
    bob = get_or_create_user(email=f"bob@{acme.org.slug}.example", password=PASSWORD)
    add_member(org=acme.org, user=bob, role=Role.VIEWER, actor=None)
    return World(acme, globex, bob)


def make_event(**fields: Any) -> dict[str, Any]:
    """A usage event of the public contract; a field given as None is left out."""
    event: dict[str, Any] = {
        "event_id": unique("evt"),
        "occurred_at": datetime.now(UTC).isoformat(),
        "provider": "anthropic",
        "model": "claude-sonnet-4-5",
        "usage": {"input_tokens": 1000, "output_tokens": 100},
        **fields,
    }
    return {name: value for name, value in event.items() if value is not None}
