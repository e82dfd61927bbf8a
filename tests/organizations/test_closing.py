"""Deleting an organization, having it back, and what is left when the month is over."""

import io
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connections

from apps.core.errors import DomainError
from apps.organizations.closing import GRACE, close_due, close_organization, restore_organization
from apps.organizations.models import ApiKeyHash, Membership, Organization
from apps.organizations.services import create_organization
from tests.api.stage import checksums, fill, set_stage
from tests.database import as_worker
from tests.world import Tenant, make_event, make_tenant

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def acme() -> Tenant:
    return make_tenant("acme")


def close(acme: Tenant, at: datetime = NOW) -> Organization:
    with time_machine.travel(at, tick=False):
        return close_organization(org=acme.org, slug=acme.org.slug, actor="alice")


def test_keys_are_refused_from_the_next_request_and_work_again_once_it_is_restored(acme: Tenant) -> None:
    assert acme.api.get("spend").status_code == 200
    close(acme, datetime.now(UTC))
    refused = acme.api.post("events", [make_event()])
    assert (refused.status_code, refused.json()["code"]) == (403, "organization_closing")
    asked = {"request_id": "r", "provider": "openai", "model": "gpt-5", "estimate_usd": "1"}
    assert acme.api.post("decisions", asked).json()["code"] == "organization_closing"
    restore_organization(org=acme.org, actor="alice")
    assert acme.api.send(make_event())["accepted"] == 1


def test_it_is_not_restored_once_its_month_is_over_whether_or_not_the_task_ran(acme: Tenant) -> None:
    close(acme)
    with time_machine.travel(NOW + GRACE, tick=False), pytest.raises(DomainError) as refused:
        restore_organization(org=acme.org, actor="alice")
    assert refused.value.code == "organization_not_closing"
    assert (NOW + GRACE).isoformat() in refused.value.detail
    assert Organization.objects.get(pk=acme.org.pk).state == "closing"
    with time_machine.travel(NOW + GRACE - timedelta(seconds=1), tick=False):
        restore_organization(org=acme.org, actor="alice")


def test_the_name_is_typed_to_be_sure(acme: Tenant) -> None:
    with pytest.raises(DomainError) as refused:
        close_organization(org=acme.org, slug="acme", actor="alice")
    assert refused.value.code == "slug_differs"
    assert Organization.objects.get(pk=acme.org.pk).state == "active"


def test_it_is_deleted_and_restored_once(acme: Tenant) -> None:
    close(acme)
    with pytest.raises(DomainError) as refused:
        close(acme)
    assert refused.value.code == "organization_not_active"
    restore_organization(org=acme.org, actor="alice")
    with pytest.raises(DomainError) as refused:
        restore_organization(org=acme.org, actor="alice")
    assert refused.value.code == "organization_not_closing"


def test_after_the_month_nobody_belongs_to_it_and_no_key_leads_there(acme: Tenant) -> None:
    globex = make_tenant("globex")
    close(acme)
    with as_worker():
        close_due(at=NOW + GRACE - timedelta(seconds=1))
        assert Organization.objects.get(pk=acme.org.pk).state == "closing"
        close_due(at=NOW + GRACE)
    closed = Organization.objects.get(pk=acme.org.pk)
    assert (closed.state, closed.closes_at) == ("closed", None)
    assert not Membership.objects.filter(organization=closed).exists()
    assert not ApiKeyHash.objects.filter(organization=closed).exists()
    assert acme.api.get("spend").json()["code"] == "key_invalid"
    with pytest.raises(DomainError) as refused:
        restore_organization(org=closed, actor="alice")
    assert refused.value.code == "organization_not_closing"
    assert globex.api.get("spend").status_code == 200


def test_what_is_closed_is_erased_and_nothing_of_anybody_else() -> None:
    stage = set_stage()
    fill(stage.acme, stage.acme_names)
    fill(stage.globex, stage.globex_names)
    untouched = checksums(stage.globex)
    with pytest.raises(CommandError, match="is active"):
        call_command("erase_organization", stage.acme.org.slug)
    close(stage.acme)
    with as_worker():
        close_due(at=NOW + GRACE)
    said = io.StringIO()
    call_command("erase_organization", stage.acme.org.slug, stdout=said)
    connections["owner"].close()
    left = checksums(stage.acme)
    assert {table for table, (rows, _) in left.items() if rows} == {"organizations_organization"}
    assert checksums(stage.globex) == untouched
    assert "usage_event: 5" in said.getvalue()
    with pytest.raises(CommandError, match="No such organization"):
        call_command("erase_organization", "never-was")


def test_the_slug_stays_taken(acme: Tenant) -> None:
    close(acme)
    with as_worker():
        close_due(at=NOW + GRACE)
    with pytest.raises(DomainError) as refused:
        create_organization(name=acme.org.name, owner_email="mallory@people.example")
    assert refused.value.code == "slug_taken"
