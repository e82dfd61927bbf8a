"""An operator looks as a member: from the reason to the end, on both sides, and all that is refused meanwhile."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from allauth.mfa.models import Authenticator
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import URLPattern

from apps.accounts.models import Impersonation, ImpersonationEnd, User
from apps.audit.models import AuditEntry
from apps.audit.services import first_broken_entry
from apps.core.tenancy import tenant
from apps.organizations.models import Membership, Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, change_settings
from apps.organizations.tasks import end_impersonations
from apps.portal import urls
from tests.api.stage import checksums
from tests.database import as_worker
from tests.portal.conftest import Shop, client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, find, get, text_of
from tests.portal.staff import REASON, make_operator, sign_in_anew, staff_client
from tests.portal.test_query_counts import queries_of
from tests.portal.test_staff import LISTS, organization_url, person_url
from tests.world import Api, Tenant

BANNER = "looks as"


def look(client: Client, shop: Shop, member: User | None = None, **given: object) -> object:
    sent = {"email": (member or shop.bob).email, "reason": REASON, "minutes": 30, **given}
    return client.post(organization_url(shop.org, "look"), sent)


def looking(shop: Shop, member: User | None = None, **given: object) -> tuple[Client, User]:
    """A client that looks as the member, and its operator."""
    operator = make_operator()
    client = staff_client(operator)
    response = look(client, shop, member, **given)
    assert (response.status_code, response["Location"]) == (302, shop.url())  # type: ignore[attr-defined]
    return client, operator


def told(shop: Shop) -> list[AuditEntry]:
    with tenant(shop.org):
        assert first_broken_entry(org=shop.org) is None
        rows = AuditEntry.objects.for_org(shop.org).filter(action__startswith="impersonation.")
        return list(rows.order_by("sequence"))


def end_of(operator: User) -> str | None:
    ended = ImpersonationEnd.objects.filter(impersonation__operator=operator).first()
    return ended.how if ended else None


# --- looking -----------------------------------------------------------------------------------------


def test_an_operator_sees_what_the_member_sees_under_a_banner() -> None:
    shop = make_shop()
    client, operator = looking(shop)
    page = get(client, shop.url("members"))
    assert page.text.count(BANNER) == 1
    assert f"{operator.email} looks as {shop.bob.email} in {shop.org.name}, until" in page.text
    seen, bobs = page, get(client_of(shop.bob), shop.url("members"))
    assert text_of(next(seen.find("main"))) == text_of(next(bobs.find("main")))
    assert client.get(shop.url("keys")).status_code == 403  # Bob is a viewer


def test_every_kind_of_page_has_the_banner() -> None:
    shop = make_shop()
    client, _ = looking(shop)
    urls = (
        shop.url(),
        shop.url("nothing"),
        "/nothing/",
        "/accounts/email/",
        "/organizations/new",
        "/operator/prices",
        *LISTS,
    )
    for url in (*urls, organization_url(shop.org), shop.url("keys")):
        html = client.get(url, follow=True).content.decode()
        assert html.count('class="looking"') == 1, url


def test_it_is_written_down_on_both_sides() -> None:
    shop = make_shop()
    with time_machine.travel(datetime(2026, 11, 28, 12, tzinfo=UTC), tick=False) as clock:
        client, operator = looking(shop, minutes=15)
        clock.shift(timedelta(minutes=5))
        response = client.post("/looking/end")
    assert response["Location"] == organization_url(shop.org)
    actor = f"{operator.email} as {shop.bob.email}"
    began, ended = told(shop)
    assert [(entry.actor, entry.subject) for entry in (began, ended)] == [(actor, shop.bob.email)] * 2
    assert (began.action, began.data) == (
        "impersonation.began", {"reason": REASON, "until": "2026-11-28T12:15:00+00:00"}
    )  # fmt: skip
    assert (ended.action, ended.data) == (
        "impersonation.ended", {"at": "2026-11-28T12:05:00+00:00", "how": "ended by hand"}
    )  # fmt: skip
    row = Impersonation.objects.select_related("end").get(operator=operator)
    assert (row.member, row.organization, row.reason) == (shop.bob, shop.org.slug, REASON)
    assert (row.until - row.began_at, row.end.at - row.began_at) == (timedelta(minutes=15), timedelta(minutes=5))
    page = get(staff_client(), f"{LISTS[2]}?q={shop.org.slug}")
    assert all(said in page.text for said in (operator.email, shop.bob.email, REASON, "ended by hand"))


def test_after_the_end_the_operator_is_a_stranger_again() -> None:
    shop = make_shop()
    client, operator = looking(shop)
    page = Page(client.post("/looking/end", follow=True))
    assert f"You no longer look as {shop.bob.email}." in page.text
    assert BANNER not in page.text
    assert client.get(shop.url()).status_code == 404
    assert client.post("/looking/end")["Location"] == "/"
    assert [entry.action for entry in told(shop)] == ["impersonation.began", "impersonation.ended"]
    assert end_of(operator) == "ended"


def test_a_session_holds_an_id_and_nothing_else() -> None:
    client, operator = looking(make_shop())
    made = Impersonation.objects.get(operator=operator)
    assert client.session["looking_as"] == made.pk


@pytest.mark.parametrize("kept", [0, -1, 10**30, "x", None, [1], {"a": 1}, True])
def test_a_session_with_another_id_looks_as_nobody(kept: object) -> None:
    shop, client = make_shop(), staff_client()
    session = client.session
    session["looking_as"] = kept
    session.save()
    response = client.get("/accounts/email/")
    assert (response.status_code, BANNER in response.content.decode()) == (200, False)
    assert client.get(shop.url()).status_code == 404


def test_an_id_of_another_operator_or_in_a_members_session_is_worth_nothing() -> None:
    shop = make_shop()
    client, _ = looking(shop, shop.alice)
    number = client.session["looking_as"]
    for other in (staff_client(), client_of(shop.charlie), client_of(shop.bob)):
        session = other.session
        session["looking_as"] = number
        session.save()
        assert BANNER not in other.get("/accounts/email/").content.decode()
        assert "looking_as" not in other.session
    assert client.get(shop.url()).status_code == 200


# --- who may begin, and as whom ----------------------------------------------------------------------


@pytest.mark.parametrize(("given", "said"), [
    ({"reason": ""}, "A reason has 10 to 500"),
    ({"reason": "too short"}, "A reason has 10 to 500"),
    ({"reason": "a NUL \0 in the reason"}, "A reason has 10 to 500"),
    ({"minutes": 14}, "Look for 15, 30, 60 minutes"),
    ({"minutes": 61}, "Look for 15, 30, 60 minutes"),
    ({"minutes": ""}, "Look for 15, 30, 60 minutes"),
    ({"minutes": "\u0661\u0665"}, "Look for 15, 30, 60 minutes"),
    ({"email": "nobody@people.example"}, "is a member here"),
    ({"email": ""}, "is a member here"),
    ({"email": "\0"}, "is a member here"),
    ({"email": "x" * 5_000}, "is a member here"),
])  # fmt: skip
def test_what_is_wrong_is_said_and_what_was_typed_stays(shop: Shop, given: dict[str, object], said: str) -> None:
    operator = make_operator()
    client = staff_client(operator)
    response = look(client, shop, **given)
    assert response.status_code == 400  # type: ignore[attr-defined]
    response.status_code = 200  # type: ignore[attr-defined]
    page = Page(response)  # type: ignore[arg-type]
    assert said in page.text
    if "reason" not in given:
        assert REASON in [attribute(one, "value") for one in page.find("input", id="look-reason")]
    assert not Impersonation.objects.filter(operator=operator).exists()


def test_nobody_looks_as_an_operator_a_stranger_or_who_is_deactivated() -> None:
    shop, other = make_shop(), make_operator()
    add_member(org=shop.org, user=other, role=Role.VIEWER, actor=None)
    client = staff_client()
    User.objects.filter(pk=shop.bob.pk).update(is_active=False)
    for person in (other, shop.bob, shop.charlie):
        assert look(client, shop, person).status_code == 400  # type: ignore[attr-defined]
    operator = make_operator()
    add_member(org=shop.org, user=operator, role=Role.VIEWER, actor=None)
    assert look(staff_client(operator), shop, operator).status_code == 400  # type: ignore[attr-defined]
    assert told(shop) == []
    page = get(client, organization_url(shop.org))
    offered = {text_of(row[0]) for row in page.rows() if len(row) == 5 and list(find(row[4], "a"))}
    assert not any(person.email in text for text in offered for person in (other, shop.bob))


def test_who_begins_another_ends_the_one_before() -> None:
    shop, other = make_shop(), make_shop()
    operator = make_operator()
    first, second = staff_client(operator), staff_client(operator)
    look(first, shop)
    look(second, other)
    assert [entry.data.get("how") for entry in told(shop)] == [None, "the operator began another"]
    assert "You no longer look as" in first.get(shop.url()).content.decode()
    assert second.get(other.url()).status_code == 200


# --- reading alone -----------------------------------------------------------------------------------


def concrete(pattern: URLPattern, org: Organization) -> str:
    """An address of the route."""
    route = str(pattern.pattern).replace("<slug:slug>", org.slug)
    for kind, value in (("slug", "x"), ("int", "1"), ("uuid", "00000000-0000-4000-8000-000000000000")):
        route = re.sub(rf"<{kind}:\w+>", value, route)
    return "/" + re.sub(r"<\w+:\w+>", "x", route)


def posts(shop: Shop) -> Iterator[str]:
    for pattern in urls.urlpatterns:
        if pattern.name != "looking_end":
            yield concrete(pattern, shop.org)
    yield organization_url(shop.org, "look")
    yield organization_url(shop.org, "suspend")
    yield person_url(shop.bob, "deactivate")
    yield LISTS[0]
    yield from ("/accounts/password/change/", "/accounts/email/", "/accounts/2fa/totp/deactivate/", "/accounts/login/")


def test_every_form_of_every_page_is_refused() -> None:
    shop = make_shop()
    client, operator = looking(shop, shop.alice)
    side = Tenant(shop.org, Api(""), shop.alice)
    before = checksums(side)
    sent = {"reason": REASON, "name": "x", "email": shop.bob.email, "minutes": 60}
    asked = [("post", url) for url in posts(shop)]
    asked += [(method, shop.url("keys/new")) for method in ("put", "patch", "delete")]
    for method, url in asked:
        response = getattr(client, method)(url, sent)
        assert (response.status_code, "Nothing was changed" in response.content.decode()) == (403, True), url
    assert checksums(side) == before
    assert client.get(shop.url()).status_code == 200
    assert end_of(operator) is None


def test_a_form_that_waited_for_a_sign_in_is_not_sent_meanwhile() -> None:
    """Signing in again sends what waited for it, past every middleware: that is refused too."""
    shop = make_shop()
    client, _ = looking(shop, shop.alice)
    response = client.post("/accounts/reauthenticate/", {"password": "x"})
    assert (response.status_code, "Nothing was changed" in response.content.decode()) == (403, True)


def test_whoever_looks_goes_to_this_organization_alone() -> None:
    shop, other = make_shop(), make_shop()
    for org in (shop.org, other.org):
        add_member(org=org, user=shop.bob, role=Role.VIEWER, actor=None)
    operator = make_operator()
    add_member(org=other.org, user=operator, role=Role.OWNER, actor=None)
    client = staff_client(operator)
    look(client, shop)
    assert client.get(other.url()).status_code == 404
    assert client.get("/")["Location"] == shop.url()
    for url in (shop.url(), "/o/"):
        html = client.get(url).content.decode()
        assert shop.org.slug in html
        assert other.org.slug not in html, url


def test_account_pages_are_the_operators_own() -> None:
    shop = make_shop()
    client, operator = looking(shop)
    page = get(client, "/accounts/email/")
    main = text_of(next(page.find("main")))
    assert operator.email in main
    assert shop.bob.email not in main


def test_an_organization_that_asks_for_a_second_factor_shows_what_a_member_with_one_sees() -> None:
    shop = make_shop()
    client, _ = looking(shop)
    change_settings(org=shop.org, actor=None, requires_second_factor=True)
    assert client.get(shop.url()).status_code == 200
    assert client_of(shop.bob).get(shop.url()).status_code == 403


# --- the end -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("minutes", [15, 30, 60])
def test_it_ends_by_itself_at_its_time(minutes: int) -> None:
    shop = make_shop()
    start = datetime.now(UTC).replace(microsecond=0)
    with time_machine.travel(start, tick=False) as clock:
        client, operator = looking(shop, minutes=minutes)
        clock.move_to(start + timedelta(minutes=minutes, microseconds=-1))
        assert client.get(shop.url()).status_code == 200
        clock.move_to(start + timedelta(minutes=minutes))
        response = client.get(shop.url())
        assert (response.status_code, "its time was over" in response.content.decode()) == (403, True)
        assert BANNER not in response.content.decode()
        assert client.get(shop.url()).status_code == 404
        clock.shift(timedelta(hours=1))
        assert client.get(shop.url()).status_code == 404
    assert ImpersonationEnd.objects.get(impersonation__operator=operator).at == start + timedelta(minutes=minutes)
    assert [entry.action for entry in told(shop)] == ["impersonation.began", "impersonation.ended"]


def test_what_nobody_comes_back_to_is_ended_by_the_clock() -> None:
    shop = make_shop()
    start = datetime.now(UTC).replace(microsecond=0)
    with time_machine.travel(start, tick=False) as clock:
        _, operator = looking(shop, minutes=15)
        with as_worker():
            end_impersonations()
        assert end_of(operator) is None
        clock.shift(timedelta(minutes=20))
        for _ in range(2):
            with as_worker():
                end_impersonations()
    ended = ImpersonationEnd.objects.get(impersonation__operator=operator)
    assert (ended.how, ended.at) == ("time", start + timedelta(minutes=15))
    assert [entry.action for entry in told(shop)] == ["impersonation.began", "impersonation.ended"]


def test_signing_out_ends_it() -> None:
    shop = make_shop()
    client, operator = looking(shop)
    assert client.post("/accounts/logout/").status_code == 302
    assert end_of(operator) == "signed_out"
    assert [entry.data.get("how") for entry in told(shop)] == [None, "the operator signed out"]
    client.force_login(operator)
    assert client.get(shop.url()).status_code == 404


def test_another_session_of_the_operator_does_not_look() -> None:
    shop = make_shop()
    _, operator = looking(shop)
    assert staff_client(operator).get(shop.url()).status_code == 404


def test_it_ends_with_the_operators_rights() -> None:
    for change in ({"is_operator": False}, {"is_active": False}):
        shop = make_shop()
        client, operator = looking(shop)
        User.objects.filter(pk=operator.pk).update(**change)
        assert client.get(shop.url()).status_code in (302, 403)
        with as_worker():
            end_impersonations()
        assert end_of(operator) == "rights"
        assert [entry.data.get("how") for entry in told(shop)] == [None, "the operator's rights ended"]


def test_it_ends_with_the_operators_second_factor() -> None:
    shop = make_shop()
    client, operator = looking(shop)
    Authenticator.objects.filter(user=operator).delete()
    assert client.get(shop.url()).status_code == 403
    assert end_of(operator) == "rights"


def test_it_ends_with_the_membership_or_when_the_member_becomes_an_operator() -> None:
    for end in (
        lambda shop: Membership.objects.filter(organization=shop.org, user=shop.bob).delete(),
        lambda shop: User.objects.filter(pk=shop.bob.pk).update(is_operator=True),
        lambda shop: User.objects.filter(pk=shop.bob.pk).update(is_active=False),
    ):
        shop = make_shop()
        client, operator = looking(shop)
        end(shop)
        assert client.get(shop.url()).status_code == 403
        assert end_of(operator) == "membership"
        assert client.get(shop.url()).status_code == 404


def test_a_role_that_changes_meanwhile_holds_at_once() -> None:
    shop = make_shop()
    client, _ = looking(shop)
    assert client.get(shop.url("keys")).status_code == 403
    add_member(org=shop.org, user=shop.bob, role=Role.ADMIN, actor=None)
    assert client.get(shop.url("keys")).status_code == 200


def test_a_session_that_is_gone_takes_it_along() -> None:
    shop = make_shop()
    client, _ = looking(shop)
    Session.objects.filter(pk=client.session.session_key).delete()
    assert client.get(shop.url()).status_code == 302


def test_a_sign_in_that_grew_old_is_no_reason_to_stop() -> None:
    shop = make_shop()
    client, operator = looking(shop, minutes=60)
    with time_machine.travel(datetime.now(UTC) + timedelta(minutes=40), tick=False):
        assert client.get(shop.url()).status_code == 200
        assert "reauthenticate" in client.get(LISTS[0])["Location"]
        sign_in_anew(client, operator)
        assert client.get(LISTS[0]).status_code == 200


def test_a_page_that_is_looked_at_costs_three_more_queries() -> None:
    shop = make_shop()
    person = make_person("viewer")
    add_member(org=shop.org, user=person, role=Role.VIEWER, actor=None)
    client, _ = looking(shop, person)
    own = queries_of(client_of(person), shop.url("members"))
    assert len(queries_of(client, shop.url("members"))) <= len(own) + 3
