"""The two commands, as an operator runs them: stdout carries the answer alone."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from apps.accounts.models import User
from apps.core.tenancy import tenant
from apps.organizations.keys import is_well_formed
from apps.organizations.models import ApiKey, Membership, Organization, Zone
from apps.organizations.selectors import organization_by_slug, principal_for
from apps.organizations.services import create_organization
from tests.world import unique


def run(*arguments: str) -> tuple[str, str]:
    """(stdout, stderr) of a command."""
    out, err = io.StringIO(), io.StringIO()
    call_command(*arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def create(name: str, *arguments: str) -> tuple[str, str]:
    return run("create_organization", name, "--owner", "alice@acme.example", *arguments)


@pytest.fixture
def slug() -> str:
    return create_organization(name=unique("acme"), owner_email="alice@acme.example").slug


def issue(slug: str, *arguments: str, scopes: str = "ingest,read") -> str:
    out, err = run("issue_key", slug, "--name", "tests", "--scopes", scopes, *arguments)
    assert err == ""
    assert out.endswith("\n")
    return out.removesuffix("\n")


# --- create_organization -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Acme {}", "acme-{}"),
        ("  Acme   Research {} ", "acme-research-{}"),
        ("ACME {} Inc.", "acme-{}-inc"),
        ("Café Zürich {}", "cafe-zurich-{}"),
    ],
)
def test_it_prints_the_slug_alone(name: str, slug: str) -> None:
    number = unique("n")
    out, _ = create(name.format(number))
    assert out == slug.format(number) + "\n"


def test_it_makes_the_owner_and_the_zone() -> None:
    name = unique("acme")
    create(name, "--zone", "Europe/Berlin")
    org = organization_by_slug(name)
    membership = Membership.objects.get(organization=org)
    assert (membership.user.email, membership.role) == ("alice@acme.example", "owner")
    with tenant(org):
        assert Zone.objects.for_org(org).get().name == "Europe/Berlin"


def test_a_new_owner_gets_a_link_on_stderr() -> None:
    email = f"{unique('new')}@acme.example"
    _, err = run("create_organization", unique("acme"), "--owner", f" {email.upper()} ")
    assert f"{email} chooses a password here: http://testserver/accounts/password/reset/key/" in err


def test_an_owner_with_a_password_gets_no_link() -> None:
    email = f"{unique('old')}@acme.example"
    User.objects.create_user(email, "correct-horse-battery")
    _, err = run("create_organization", unique("acme"), "--owner", email)
    assert err == ""


@pytest.mark.parametrize(
    ("name", "owner", "zone", "complaint"),
    [
        ("", "alice@acme.example", "UTC", "'' gives no usable slug"),
        ("!!!", "alice@acme.example", "UTC", "'!!!' gives no usable slug"),
        ("日本", "alice@acme.example", "UTC", "'日本' gives no usable slug"),
        ("a" * 61, "alice@acme.example", "UTC", "gives no usable slug"),
        (f"a{'!' * 100}", "alice@acme.example", "UTC", "gives no usable slug"),
        ("Acme\0", "alice@acme.example", "UTC", "gives no usable slug"),
        ("Acme", "alice", "UTC", "'alice' is no email address"),
        ("Acme", "", "UTC", "'' is no email address"),
        ("Acme", "alice@acme.example", "Berlin", "'Berlin' is not an IANA time zone"),
        ("Acme", "alice@acme.example", "../../etc/passwd", "is not an IANA time zone"),
    ],
)
def test_it_says_what_is_wrong_and_makes_nothing(name: str, owner: str, zone: str, complaint: str) -> None:
    before = (Organization.objects.count(), User.objects.count())
    with pytest.raises(CommandError, match=complaint.replace(".", r"\.")):
        run("create_organization", name, "--owner", owner, "--zone", zone)
    assert (Organization.objects.count(), User.objects.count()) == before


def test_a_slug_is_taken_once(slug: str) -> None:
    with pytest.raises(CommandError, match=f"The slug '{slug}' is taken: choose another name"):
        create(slug.upper())


# --- issue_key ---------------------------------------------------------------------------------------


def test_it_prints_the_key_alone(slug: str) -> None:
    assert is_well_formed(issue(slug))


def test_the_key_carries_what_was_asked(slug: str) -> None:
    secret = issue(slug, "--team", "search", "--project", "chat", "--environment", "prod", scopes=" read, ingest,read,")
    principal = principal_for(secret, at=timezone.now())
    assert principal.organization.slug == slug
    assert principal.scopes == {"ingest", "read"}
    assert (principal.team, principal.project, principal.environment) == ("search", "chat", "prod")


def test_a_key_expires_after_its_days(slug: str) -> None:
    now = timezone.now()
    issue(slug, "--days", "30")
    org = organization_by_slug(slug)
    with tenant(org):
        expires = ApiKey.objects.for_org(org).get().expires_at
    assert expires is not None
    assert timedelta(0) <= expires - now - timedelta(days=30) < timedelta(minutes=1)


def test_a_key_without_days_stays(slug: str) -> None:
    issue(slug)
    org = organization_by_slug(slug)
    with tenant(org):
        assert ApiKey.objects.for_org(org).get().expires_at is None


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--scopes", "read,admin"], "No such scope: admin. Use ingest, decide, read, manage, backfill"),
        (["--scopes", " , "], "A key needs at least one scope"),
        (["--name", ""], "A key's name has 1 to 100 printable characters"),
        (["--name", "x" * 101], "A key's name has 1 to 100 printable characters"),
        (["--name", "a\0b"], "A key's name has 1 to 100 printable characters"),
        (["--team", ""], "A pinned team has 1 to 256 printable characters"),
        (["--team", "x" * 257], "A pinned team has 1 to 256 printable characters"),
        (["--environment", "a\nb"], "A pinned environment has 1 to 256 printable characters"),
        (["--days", "0"], "--days is 0: give 1 to 3650"),
        (["--days", "-1"], "--days is -1: give 1 to 3650"),
        (["--days", str(10**9)], "--days is 1000000000: give 1 to 3650"),
    ],
)
def test_it_says_what_is_wrong_and_issues_nothing(slug: str, arguments: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint.replace(".", r"\.")):
        run("issue_key", slug, "--name", "tests", "--scopes", "read", *arguments)
    org = organization_by_slug(slug)
    with tenant(org):
        assert not ApiKey.objects.for_org(org).exists()


def test_an_unknown_organization_is_said() -> None:
    with pytest.raises(CommandError, match="No such organization"):
        run("issue_key", "nobody-here", "--name", "tests", "--scopes", "read")
