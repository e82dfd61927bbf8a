"""The back office: who enters, what it shows, what operators do there and what is written down of it."""

from datetime import timedelta

import pytest
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.db import ProgrammingError, connection
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from apps.accounts.models import StaffAct, User
from apps.audit.models import AuditEntry
from apps.audit.services import first_broken_entry
from apps.core.tenancy import tenant
from apps.organizations.models import ApiKeyHash, Organization
from apps.organizations.permissions import Role
from apps.organizations.services import add_member, issue_key
from tests.api.tenants import make_org
from tests.portal.conftest import HOSTILE_NAME, Shop, client_of, make_person, make_shop
from tests.portal.reading import Page, attribute, get, text_of
from tests.portal.staff import (
    REASON,
    TOTP_SECRET,
    give_second_factor,
    make_operator,
    sign_in_anew,
    staff_client,
)
from tests.world import PASSWORD, make_event

LISTS = (
    "/staff/organizations/organization/",
    "/staff/accounts/user/",
    "/staff/accounts/impersonation/",
    "/staff/accounts/staffact/",
)


def organization_url(org: Organization, act: str = "change/") -> str:
    return f"/staff/organizations/organization/{org.pk}/{act}"


def person_url(person: User, act: str = "change/") -> str:
    return f"/staff/accounts/user/{person.pk}/{act}"


def entries(org: Organization, *actions: str) -> list[AuditEntry]:
    with tenant(org):
        assert first_broken_entry(org=org) is None
        return list(AuditEntry.objects.for_org(org).filter(action__in=actions).order_by("sequence"))


def acts_on(subject: str) -> list[tuple[str, str, str]]:
    rows = StaffAct.objects.filter(subject=subject).order_by("pk").select_related("operator")
    return [(row.operator.email, row.action, row.reason) for row in rows]


def pages_of(shop: Shop) -> tuple[str, ...]:
    return (*LISTS, organization_url(shop.org), person_url(shop.alice))


# --- who enters --------------------------------------------------------------------------------------


def test_nobody_is_sent_to_sign_in_and_back(shop: Shop) -> None:
    for url in ("/staff/", "/staff/nothing", *pages_of(shop)):
        response = Client().get(url)
        assert (response.status_code, response["Location"]) == (302, f"/accounts/login/?next={url}")


def test_for_anybody_but_operators_it_does_not_exist(shop: Shop) -> None:
    alice = client_of(shop.alice)
    give_second_factor(shop.alice)
    sign_in_anew(alice, shop.alice)
    nowhere = alice.get("/nothing/")
    for url in ("/staff/", "/staff/jsi18n/", *pages_of(shop), organization_url(shop.org, "suspend")):
        for response in (alice.get(url), alice.post(url, {"reason": REASON})):
            assert response.status_code == nowhere.status_code == 404, url
    assert Organization.objects.get(pk=shop.org.pk).state == "active"


def test_an_operator_without_a_second_factor_reads_how_to_set_one_up(shop: Shop) -> None:
    client = staff_client(make_operator(second_factor=False))
    for url in pages_of(shop):
        response = client.get(url)
        assert response.status_code == 403
        assert "Staff needs a second factor" in response.content.decode()
        assert reverse("mfa_index") in response.content.decode()
        assert shop.alice.email not in response.content.decode()


def test_recovery_codes_alone_are_no_second_factor() -> None:
    operator = make_operator()
    Authenticator.objects.filter(user=operator).exclude(type=Authenticator.Type.RECOVERY_CODES).delete()
    assert staff_client(operator).get(LISTS[0]).status_code == 403


def test_who_signed_in_long_ago_signs_in_again(shop: Shop) -> None:
    client = client_of(make_operator())
    for url in pages_of(shop):
        response = client.get(url)
        assert response.status_code == 302, url
        assert response["Location"].startswith("/accounts/"), url
        assert "reauthenticate" in response["Location"], url
    assert "reauthenticate" in client.post(organization_url(shop.org, "suspend"), {"reason": REASON})["Location"]
    assert Organization.objects.get(pk=shop.org.pk).state == "active"


def test_what_waited_for_the_sign_in_is_done_after_it() -> None:
    shop, operator = make_shop(), make_operator()
    operator.set_password(PASSWORD)
    operator.save(update_fields=["password"])
    client = client_of(operator)
    waits = client.post(organization_url(shop.org, "suspend"), {"reason": REASON})
    assert waits["Location"].startswith("/accounts/reauthenticate/")
    client.post(waits["Location"], {"password": "wrong"})
    assert Organization.objects.get(pk=shop.org.pk).state == "active"
    client.post(waits["Location"], {"password": PASSWORD})
    assert Organization.objects.get(pk=shop.org.pk).state == "suspended"


def test_an_operator_with_all_of_it_enters(shop: Shop) -> None:
    client = staff_client()
    assert client.get("/staff/")["Location"] == LISTS[0]
    for url in pages_of(shop):
        assert client.get(url).status_code == 200, url


def test_who_is_no_operator_any_more_is_out_at_once() -> None:
    operator = make_operator()
    client = staff_client(operator)
    User.objects.filter(pk=operator.pk).update(is_operator=False)
    assert client.get(LISTS[0]).status_code == 404
    User.objects.filter(pk=operator.pk).update(is_operator=True, is_active=False)
    assert client.get(LISTS[0]).status_code == 302


@pytest.mark.parametrize(
    "path",
    [
        "login/", "logout/", "password_change/", "autocomplete/", "r/1/1/", "admin/logentry/", "auth/group/",
        "organizations/organization/add/", "organizations/organization/1/delete/", "accounts/user/add/",
        "accounts/user/1/delete/", "accounts/user/1/history/", "accounts/user/1/password/",
        "accounts/staffact/1/change/", "organizations/organization/99999999999999999999/change/",
        "usage/event/", "audit/auditentry/", "pricing/price/",
        "organizations/organization/1/erase", "accounts/user/1/make-operator",
    ],
)  # fmt: skip
def test_nothing_is_added_or_deleted_and_nothing_else_is_there(path: str) -> None:
    client = staff_client()
    assert client.get(f"/staff/{path}").status_code == 404
    assert client.post(f"/staff/{path}", {"reason": REASON}).status_code == 404


def test_a_page_takes_no_form_and_an_act_shows_nothing(shop: Shop) -> None:
    client = staff_client()
    assert client.post(organization_url(shop.org), {"slug": "other"}).status_code == 404
    assert client.get(organization_url(shop.org, "suspend")).status_code == 404
    assert client.post(person_url(shop.bob), {"is_operator": "on"}).status_code == 404
    assert client.put(organization_url(shop.org)).status_code == 405


# --- what it shows -----------------------------------------------------------------------------------


def test_organizations_are_found() -> None:
    org, other = make_org(), make_org()
    page = get(staff_client(), f"{LISTS[0]}?q={org.slug.upper()}")
    assert org.slug in page.text
    assert other.slug not in page.text
    closed = get(staff_client(), f"{LISTS[0]}?state__exact=closed&q={org.slug}")
    assert org.slug not in [text_of(cell) for row in closed.rows() for cell in row]


def test_an_organization_shows_its_limits_members_keys_and_health() -> None:
    shop = make_shop("Asia/Kolkata")
    give_second_factor(shop.bob)
    key = issue_key(org=shop.org, name="gateway", scopes=["ingest"]).key
    shop.api.send(make_event(), make_event())
    page = get(staff_client(), organization_url(shop.org))
    for said in (
        shop.org.name, shop.org.slug, "active", "Asia/Kolkata", "25 months, as the installation does", key.hint,
        "gateway", shop.alice.email, shop.bob.email, "Sums that wait", "never", "Deliveries failing", "none",
    ):  # fmt: skip
        assert said in page.text, said
    members = {text_of(row[0]): [text_of(cell) for cell in row[1:3]] for row in page.rows() if len(row) == 5}
    assert members.items() >= {shop.alice.email: ["Owner", "no"], shop.bob.email: ["Viewer", "yes"]}.items()


def test_a_member_is_found_on_the_page_of_the_organization(shop: Shop) -> None:
    page = get(staff_client(), organization_url(shop.org, f"change/?members={shop.bob.email[:10]}"))
    assert shop.bob.email in page.text
    assert shop.alice.email not in page.text
    assert "Nobody matches." in get(staff_client(), organization_url(shop.org, "change/?members=%25_x")).text


def test_a_person_shows_memberships_addresses_factors_and_sessions() -> None:
    shop = make_shop()
    give_second_factor(shop.bob)
    client_of(shop.bob)
    page = get(staff_client(), person_url(shop.bob))
    for said in (
        shop.bob.email,
        shop.org.slug,
        "Viewer",
        "Authenticator app",
        "Recovery codes",
        "127.0.0.1",
        "Deactivate",
    ):
        assert said in page.text, said


def test_no_page_holds_a_secret() -> None:
    shop = make_shop()
    factor = give_second_factor(shop.bob)
    client_of(shop.bob)
    key = issue_key(org=shop.org, name="gateway", scopes=["ingest"])
    hashed = bytes(ApiKeyHash.objects.get(api_key_id=key.key.pk).hash)
    codes = Authenticator.objects.get(user=shop.bob, type=Authenticator.Type.RECOVERY_CODES)
    shop.bob.set_password("correct-horse-battery")
    shop.bob.save(update_fields=["password"])
    session = UserSession.objects.filter(user=shop.bob).latest("pk")
    secrets = {
        TOTP_SECRET, factor.data["secret"], codes.data["seed"], key.secret, hashed.hex(), repr(hashed),
        shop.bob.password, session.session_key, *codes.wrap().get_unused_codes(),
    }  # fmt: skip
    client = staff_client()
    for url in (*LISTS, organization_url(shop.org), person_url(shop.bob)):
        html = client.get(url).content.decode()
        assert [secret for secret in secrets if secret in html] == [], url


def test_names_are_shown_as_text() -> None:
    shop = make_shop()
    User.objects.filter(pk=shop.bob.pk).update(name=HOSTILE_NAME)
    Organization.objects.filter(pk=shop.org.pk).update(name=HOSTILE_NAME)
    client = staff_client()
    lists = (f"{LISTS[0]}?q={shop.org.slug}", f"{LISTS[1]}?q={shop.bob.email}")
    for url in (*lists, organization_url(shop.org), person_url(shop.bob)):
        html = client.get(url).content.decode()
        assert "<script>alert" not in html
        assert "&lt;script&gt;alert" in html


HOSTILE_QUERIES = (
    "q=%00", "q=" + "a" * 20_000, "q=" + "a+" * 5_000, "q=%25%27%22\\", "q='\"", "p=-1", "p=x", "p=99999999999",
    "o=99.-5.x", "all=", "state__exact=%00", "state__exact=nobody", "e=1", "password__startswith=p", "email__regex=(",
    "name__regex=(", "operator__password__startswith=p", "id__in=1,x", "is_active__exact=x", "%00=1",
    "q=%F0%9F&q=%ED%A0%80", "_facets=1",
)  # fmt: skip


@pytest.mark.parametrize("url", LISTS)
def test_no_query_breaks_a_list(url: str) -> None:
    client = staff_client()
    for query in HOSTILE_QUERIES:
        assert client.get(f"{url}?{query}").status_code in (200, 302, 400, 404), query
    assert client.get(f"{url}?password__startswith=p").status_code in (302, 400)


@pytest.mark.parametrize("selected", ["\0", "x", "-1", "9" * 40, "\u0661"])
def test_what_is_no_row_is_not_chosen(selected: str) -> None:
    sent = {"action": "suspend", "_selected_action": selected, "reason": REASON, "index": "0"}
    assert staff_client().post(LISTS[0], sent).status_code in (302, 404)


# --- organizations are suspended and reinstated ------------------------------------------------------


def test_an_organization_is_suspended_and_reinstated_for_a_reason() -> None:
    shop, operator = make_shop(), make_operator()
    client = staff_client(operator)
    page = Page(client.post(organization_url(shop.org, "suspend"), {"reason": REASON}, follow=True))
    assert f"{shop.org.slug} is suspended." in page.text
    refused = shop.api.post("events", [make_event()])
    assert (refused.status_code, refused.json()["code"]) == (403, "organization_suspended")
    assert (
        client_of(shop.alice).post(shop.url("organization/zone"), {"zone": "UTC", "month": "2100-01"}).status_code
        == 400
    )
    assert client_of(shop.alice).get(shop.url()).status_code == 200
    client.post(organization_url(shop.org, "reinstate"), {"reason": REASON})
    shop.api.send(make_event())
    suspended, reinstated = entries(shop.org, "organizations.suspended", "organizations.reinstated")
    assert (suspended.actor, suspended.data) == (operator.email, {"reason": REASON})
    assert (reinstated.actor, reinstated.action) == (operator.email, "organizations.reinstated")
    assert [act for _, act, _ in acts_on(shop.org.slug)] == ["organizations.suspended", "organizations.reinstated"]


@pytest.mark.parametrize("reason", ["", "too short", " " * 20, "with a\0 NUL in it", "x" * 501, "two\nlines of reason"])
def test_without_a_reason_nothing_happens_and_what_was_typed_stays(reason: str) -> None:
    shop, client = make_shop(), staff_client()
    response = client.post(organization_url(shop.org, "suspend"), {"reason": reason})
    assert response.status_code == 400
    response.status_code = 200
    page = Page(response)
    assert "A reason has 10 to 500 printable characters" in page.text
    assert Organization.objects.get(pk=shop.org.pk).state == "active"
    assert entries(shop.org, "organizations.suspended") == []
    if reason == "too short":
        assert reason in [attribute(one, "value") for one in page.find("input", id="state-reason")]


def test_what_is_not_active_is_not_suspended() -> None:
    shop, client = make_shop(), staff_client()
    assert client.post(organization_url(shop.org, "reinstate"), {"reason": REASON}).status_code == 400
    Organization.objects.filter(pk=shop.org.pk).update(state="closing", closes_at=timezone.now() + timedelta(days=1))
    response = client.post(organization_url(shop.org, "suspend"), {"reason": REASON})
    assert (response.status_code, "is closing already" in response.content.decode()) == (400, True)
    assert "Suspend it" not in get(client, organization_url(shop.org)).text


def test_chosen_organizations_are_suspended_together() -> None:
    orgs, client = [make_org() for _ in range(3)], staff_client()
    sent = {"action": "suspend", "_selected_action": [org.pk for org in orgs[:2]], "index": "0"}
    assert "A reason has" in Page(client.post(LISTS[0], sent, follow=True)).text
    client.post(LISTS[0], {**sent, "reason": REASON})
    assert [Organization.objects.get(pk=org.pk).state for org in orgs] == ["suspended", "suspended", "active"]
    assert [len(entries(org, "organizations.suspended")) for org in orgs] == [1, 1, 0]
    client.post(LISTS[0], {**sent, "action": "reinstate", "reason": REASON})
    assert Organization.objects.get(pk=orgs[0].pk).state == "active"
    everything = {**sent, "reason": REASON, "select_across": "1"}
    assert client.post(LISTS[0], everything).status_code == 404
    client.post(LISTS[0], {**sent, "action": "delete_selected", "reason": REASON, "post": "yes"})
    assert Organization.objects.get(pk=orgs[0].pk).state == "active"


# --- people ------------------------------------------------------------------------------------------


def test_a_person_is_deactivated_and_reactivated() -> None:
    shop, operator = make_shop(), make_operator()
    bob, client = client_of(shop.bob), staff_client(operator)
    assert bob.get(shop.url()).status_code == 200
    client.post(person_url(shop.bob, "deactivate"), {"reason": REASON})
    assert bob.get(shop.url())["Location"].startswith("/accounts/login/")
    assert not UserSession.objects.filter(user=shop.bob).exists()
    client.post(person_url(shop.bob, "reactivate"), {"reason": REASON})
    assert bob.get(shop.url())["Location"].startswith("/accounts/login/")
    assert client_of(User.objects.get(pk=shop.bob.pk)).get(shop.url()).status_code == 200
    assert acts_on(shop.bob.email) == [
        (operator.email, "people.deactivated", REASON), (operator.email, "people.reactivated", REASON)
    ]  # fmt: skip
    told = entries(shop.org, "people.deactivated", "people.reactivated")
    assert [(entry.actor, entry.subject, entry.data) for entry in told] == [(operator.email, shop.bob.email, {})] * 2


def test_a_lost_second_factor_is_removed_and_the_person_told(mail: object) -> None:
    shop, operator = make_shop(), make_operator()
    factor = give_second_factor(shop.bob)
    client = staff_client(operator)
    refused = client.post(person_url(shop.bob, "remove-factor"), {"id": factor.pk, "reason": "lost it"})
    assert refused.status_code == 400
    assert 'value="lost it"' in refused.content.decode()
    assert refused.content.decode().count("A reason has 10 to 500") == 1
    assert Authenticator.objects.filter(user=shop.bob).count() == 2
    page = Page(client.post(person_url(shop.bob, "remove-factor"), {"id": factor.pk, "reason": REASON}, follow=True))
    assert f"{shop.bob.email} is told by mail." in page.text
    assert not Authenticator.objects.filter(user=shop.bob).exists()
    (sent,) = mail.inbox  # type: ignore[attr-defined]
    assert sent["To"] == shop.bob.email
    assert sent["Subject"] == "A second factor of your account was removed"
    assert "Authenticator app" in sent.get_content()
    assert acts_on(shop.bob.email) == [(operator.email, "people.second_factor_removed", REASON)]
    (told,) = entries(shop.org, "people.second_factor_removed")
    assert (told.actor, told.subject) == (operator.email, shop.bob.email)


def test_a_mail_that_does_not_go_out_is_said(mail: object, settings: object) -> None:
    shop = make_shop()
    factor = give_second_factor(shop.bob)
    settings.EMAIL_PORT = 1  # type: ignore[attr-defined]  # nobody listens there
    sent = {"id": factor.pk, "reason": REASON}
    page = Page(staff_client().post(person_url(shop.bob, "remove-factor"), sent, follow=True))
    assert "The mail server did not take the mail" in page.text
    assert not Authenticator.objects.filter(user=shop.bob).exists()


def test_a_session_of_another_operator_is_no_matter_of_theirs() -> None:
    other = make_operator()
    theirs = staff_client(other)
    session = UserSession.objects.filter(user=other).latest("pk")
    answer = staff_client(make_operator()).post(person_url(other, "end-session"), {"id": session.pk})
    assert "is an operator" in answer.content.decode()
    assert theirs.get(LISTS[0]).status_code == 200


def test_a_session_of_a_person_is_ended() -> None:
    shop, operator = make_shop(), make_operator()
    bob = client_of(shop.bob)
    session = UserSession.objects.get(user=shop.bob)
    client = staff_client(operator)
    others = UserSession.objects.filter(user=operator).first()
    assert others is not None
    for number in ("", "x", "\0", str(others.pk), "9" * 30):
        assert client.post(person_url(shop.bob, "end-session"), {"id": number}).status_code == 404
    assert bob.get(shop.url()).status_code == 200
    client.post(person_url(shop.bob, "end-session"), {"id": session.pk})
    assert bob.get(shop.url()).status_code == 302
    assert acts_on(shop.bob.email) == [(operator.email, "people.session_ended", "")]


def test_operators_are_no_matter_of_each_others() -> None:
    operator, other = make_operator(), make_operator()
    client = staff_client(operator)
    factor = Authenticator.objects.filter(user=other, type=Authenticator.Type.TOTP).get()
    for person in (operator, other):
        assert client.post(person_url(person, "deactivate"), {"reason": REASON}).status_code == 400
        assert "Deactivate them" not in get(client, person_url(person)).text
    assert client.post(person_url(other, "remove-factor"), {"id": factor.pk, "reason": REASON}).status_code == 400
    assert User.objects.get(pk=other.pk).is_active
    assert Authenticator.objects.filter(pk=factor.pk).exists()
    assert acts_on(other.email) == []


def test_a_factor_of_somebody_else_is_not_removed() -> None:
    shop = make_shop()
    factor = give_second_factor(shop.alice)
    sent = {"id": factor.pk, "reason": REASON}
    assert staff_client().post(person_url(shop.bob, "remove-factor"), sent).status_code == 404
    codes = Authenticator.objects.get(user=shop.alice, type=Authenticator.Type.RECOVERY_CODES)
    assert staff_client().post(person_url(shop.alice, "remove-factor"), {**sent, "id": codes.pk}).status_code == 404
    assert Authenticator.objects.filter(pk=factor.pk).exists()


def test_what_is_written_down_cannot_be_changed() -> None:
    StaffAct.objects.create(at=timezone.now(), operator=make_operator(), action="x", subject="x")
    for table in ("accounts_staffact", "accounts_impersonation", "accounts_impersonationend"):
        for statement in (f"DELETE FROM {table}", f"UPDATE {table} SET {'how' if 'end' in table else 'reason'} = 'x'"):
            with pytest.raises(ProgrammingError, match="permission denied"), connection.cursor() as cursor:
                cursor.execute(statement)


def test_the_lists_of_what_staff_did_show_it() -> None:
    shop, operator = make_shop(), make_operator()
    client = staff_client(operator)
    client.post(organization_url(shop.org, "suspend"), {"reason": REASON})
    page = get(client, f"{LISTS[3]}?q={shop.org.slug}")
    assert all(said in page.text for said in (operator.email, "organizations.suspended", REASON))


def test_a_page_of_staff_is_private_and_framed_nowhere(shop: Shop) -> None:
    client = staff_client()
    for url in pages_of(shop):
        response = client.get(url)
        assert "unsafe" not in response["Content-Security-Policy"]
        assert "no-store" in response["Cache-Control"]
        assert response["X-Frame-Options"] == "DENY"


def test_a_member_of_many_organizations_is_told_of_in_each() -> None:
    shop, other, person = make_shop(), make_org(), make_person("both")
    for org in (shop.org, other):
        add_member(org=org, user=person, role=Role.VIEWER, actor=None)
    staff_client().post(person_url(person, "deactivate"), {"reason": REASON})
    assert [len(entries(org, "people.deactivated")) for org in (shop.org, other)] == [1, 1]
