"""A page asks as often for a thousand rows as for ten: every page that lists something, in one table."""

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import User
from apps.accounts.services import set_operator
from apps.budgets.models import Budget
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.portal import urls
from apps.portal.staff import staff
from tests.portal import crowd
from tests.portal.conftest import Shop, client_of, make_person, make_shop
from tests.portal.staff import give_second_factor, make_operator, sign_in_anew

FEW, MANY = 10, 1_000
# Enough to tell one query from another.
SQL_SHOWN = 120
AS_A_LEAD = "as a lead: /o/{slug}/"

# Pages of the organization by the name of their address, each with the most queries that it may ask.
PAGES: dict[str, dict[str, int]] = {
    "overview": {"": 60, "?range=30d": 60},
    "spend": {
        "spend": 31,
        "spend?range=30d&group_by=team": 31,
        "spend?range=7d&compare=previous&group_by=model": 34,
        "spend?range=30d&group_by=user&then_by=model": 30,
        "spend?range=30d&group_by=api_key": 34,
    },
    "forecast": {"forecast": 18, "forecast?workflow=s1": 19},
    "spend_values": {"spend/values?add=team": 13, "spend/values?add=user": 13},
    "search": {"search?q=s": 36},
    "views": {"views": 15},
    "exports": {"exports": 14},
    "events": {"events": 25, "events?range=30d&team=s1": 25},
    "event": {"events/step-1": 25},
    "runs": {"runs?range=30d": 20, "runs?range=30d&sort=cost": 20},
    "run": {"runs/{run}": 33},
    "statements": {"statements": 52},
    "statements_csv": {"statements.csv": 39},
    "statement": {"statements/{statement}": 46},
    **{
        f"statement_{paper.replace('.', '_')}": {f"statements/{{statement}}.{paper}": 39}
        for paper in ("pdf", "xlsx", "csv", "json", "focus.csv", "journal.csv", "journal.xlsx")
    },
    "invoices": {"invoices": 26},
    "invoice_new": {"invoices/new": 14},
    "bill_mappings": {"invoices/mappings": 14},
    "invoice": {"invoices/{invoice}": 14},
    "reconciliation": {"invoices/{invoice}/reconciliation": 34},
    "allocations": {"allocations": 26},
    "allocation_new": {"allocations/new": 18},
    "savings": {"savings": 17},
    "disputes": {"statements/disputes": 14},
    "signals": {"signals": 16, "signals?state=": 16, "signals?workflow=s1": 16},
    "adjustments": {"statements/adjustments": 15},
    "chargeback": {"statements/closing": 15},
    "statement_mail": {"statements/mail": 22},
    "unattributed": {"unattributed?range=30d": 35},
    "aliases": {"names": 14},
    "teams": {"teams": 22},
    "team": {"teams/s1": 20},
    "projects": {"projects": 27},
    "project": {"projects/s1": 28},
    "workflows": {"workflows": 26},
    "workflow": {"workflows/s1": 46},
    "rules": {"rules": 14},
    "rule_new": {"rules/new": 24},
    "unpriced": {"unpriced?range=30d": 24},
    "declared": {"declared?range=30d": 17},
    "prices": {"prices": 21},
    "price": {"prices/anthropic/claude-sonnet-4-5": 19},
    "contracts": {"contracts": 26},
    "contract_new": {"contracts/new": 14},
    "reratings": {"reratings": 15},
    "rerating_new": {"reratings/new": 11},
    "rerating": {"reratings/{rerating}": 16},
    "budgets": {"budgets": 35},
    "budget_new": {"budgets/new": 20},
    "budget": {"budgets/{budget}": 27},
    "budget_edit": {"budgets/{budget}/edit": 14},
    "plans": {"plans": 20},
    "plans_missing": {"plans/missing": 18},
    "plan_new": {"plans/new": 14, "plans/new?from=chat": 23},
    "plan": {"plans/{plan}": 18},
    "plan_against": {"plans/{plan}/against": 30},
    "month_changes": {"spend/months": 32, "spend/months?workflow=s1": 32},
    "plan_edit": {"plans/{plan}/edit": 23},
    "plan_what_if": {"plans/{plan}/what-if": 19},
    "reservations": {"reservations": 17, "reservations?state=held": 16},
    "bounds": {"run-bounds": 18},
    "stop": {"stop": 21},
    "alerts": {"alerts": 15},
    "channel_new": {"alerts/channels/new": 14},
    "deliveries": {"alerts/deliveries": 15},
    "members": {"members": 17},
    "member_invite": {"members/invite": 14},
    "keys": {"keys": 14},
    "key_new": {"keys/new": 16},
    "organization": {"organization": 17},
    "single_sign_on": {"single-sign-on": 16},
    "first_event": {"first-event": 15},
    "audit": {"audit": 25},
}
# Pages of a person or of the installation.
OTHERS: dict[str, dict[str, int]] = {
    "switch": {"/o/": 5},
    "reviews": {"/operator/prices": 7},
    "usersessions_list": {"/accounts/sessions/": 6},
    "mfa_index": {"/accounts/2fa/": 6},
    "account_email": {"/accounts/email/": 6},
}
# Pages of which a lead's is made otherwise: what others use too is looked for.
LEADS: dict[str, int] = {
    "workflows/s1": 51,
    "signals": 15,
    "savings": 21,
    "forecast": 18,
}
# What has no list in it, or no end.
NOT_MEASURED = {
    "mail_preview": "one mail: of at most five statements in full, of others a line",
    "unsubscribe": "one address",
    "audit_csv": "of any length: asks once for each 500 entries, as it sends them",
    "audit_ndjson": "of any length: asks once for each 500 entries, as it sends them",
    "home": "leads to the organization, or to the list of them that `switch` shows",
    "allocation": "one pool, as the form of `allocation_new`",
    "recommendation": "one recommendation, and the newest change that came of it",
    "dispute": "one dispute, beside its statement that is measured as `statement`",
    "signal": "one incident, with a chart of at most 100 days and at most 100 workflows that moved with it",
    "dispute_new": "a form of one line, beside its statement that is measured as `statement`",
    "rule": "one rule, as the form of `rule_new`",
    "channel": "one channel, as the form of `channel_new`",
    "member": "a form's act on one member; `members` lists them",
    "export_file": "a file, kept in parts of a fixed size",
    "first_event_seen": "a part of `first_event`",
    "organization_new": "a form",
    "invitation": "one invitation",
    "sso": "a form",
    "sso_go": "leads to one identity provider",
    "sso_oidc": "a form's act on one identity provider",
    "sso_saml": "a form's act on one identity provider",
}
# What takes forms, and shows nothing.
ACTS = {
    "view_act", "export_delete", "rule_act", "allocation_act", "contract_end", "alias_remove", "rerating_act",
    "unpriced_policy",
    "recipient_remove", "mail_resend",
    "raise_decide", "budget_end", "bound_remove", "lift", "channel_act", "delivery_retry", "leave", "invited",
    "member_remove", "member_transfer", "key_rotate", "key_revoke", "second_factor", "zone", "organization_close",
    "organization_restore", "domain_add", "domain_verify", "domain_remove", "sso_enforce", "sso_disconnect",
    "session_end", "looking_end", "month_act",
    "invoice_delete", "bill_mapping_remove", "true_up",
    "plan_change", "plan_decide", "plan_launch", "plan_retire", "plan_controls",
}  # fmt: skip


# The back office: each list, and what belongs to one row.
STAFF: dict[str, int] = {
    "/staff/organizations/organization/?q={slug}": 7,
    "/staff/accounts/user/?q={slug}": 7,
    "/staff/accounts/impersonation/?q={slug}": 7,
    "/staff/accounts/staffact/?q={slug}": 7,
    "/staff/organizations/organization/{org}/change/": 20,
    "/staff/accounts/user/{alice}/change/": 10,
}
QUERIES_MAX = {
    **{"/o/{slug}/" + path: most for paths in PAGES.values() for path, most in paths.items()},
    **{path: most for paths in OTHERS.values() for path, most in paths.items()},
    **STAFF,
    **{AS_A_LEAD + path: most for path, most in LEADS.items()},
}


def test_every_page_is_measured_or_says_why_not() -> None:
    named = {str(pattern.name) for pattern in urls.urlpatterns}
    said = [*PAGES, *(name for name in OTHERS if name in named), *NOT_MEASURED, *ACTS]
    assert sorted(said) == sorted(named), "A page that lists something belongs into PAGES: it is measured there."


def test_every_list_of_the_back_office_is_measured() -> None:
    listed = {f"/staff/{model._meta.app_label}/{model._meta.model_name}/?q={{slug}}" for model in staff._registry}
    assert listed <= STAFF.keys()


@dataclass(frozen=True, slots=True)
class Asked:
    """What a page asked at ten rows, and at a thousand."""

    few: list[str]
    many: list[str]


@pytest.fixture(scope="module")
def asked() -> dict[str, Asked]:
    """The queries of each page, at ten rows of everything and at a thousand."""
    shop, operator = make_shop(), make_operator()
    client, lead = client_of(shop.alice), make_person("lead")
    add_member(org=shop.org, user=lead, role=Role.LEAD, teams=["s1", "s2"], actor=None)
    set_operator(email=shop.alice.email, is_operator=True)
    give_second_factor(shop.alice)
    sign_in_anew(client, shop.alice)
    crowd.add(shop, range(FEW), operator)
    flags = crowd.flag_prices(range(FEW))
    try:
        few = count_all(client, lead, shop)
        crowd.add(shop, range(FEW, MANY), operator)
        flags += crowd.flag_prices(range(FEW, MANY))
        many = count_all(client, lead, shop)
    finally:
        crowd.unflag_prices(flags)
    return {address: Asked(few[address], many[address]) for address in QUERIES_MAX}


def count_all(client: Client, lead: User, shop: Shop) -> dict[str, list[str]]:
    with tenant(shop.org):
        budget = Budget.objects.for_org(shop.org).get(name=crowd.BUDGET).pk
    month = shop.org.created_at
    names = {
        "slug": shop.org.slug,
        "org": shop.org.pk,
        "alice": shop.alice.pk,
        "budget": budget,
        "run": crowd.RUN,
        "rerating": crowd.RERATING,
        "plan": crowd.PLANS[shop.org.pk],
        "invoice": crowd.BILLS[shop.org.pk],
        "statement": quote(f"{month:%Y-%m}:s1", safe=""),
    }
    found = {
        address: queries_of(client, address.format_map(names))
        for address in QUERIES_MAX
        if not address.startswith(AS_A_LEAD)
    }
    # Signed in just before: a session that was not seen for a while is written, at no page's cost.
    theirs = client_of(lead)
    for path in LEADS:
        found[AS_A_LEAD + path] = queries_of(theirs, f"/o/{shop.org.slug}/{path}")
    return found


def queries_of(client: Client, url: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code == 200, url
    return [query["sql"][:SQL_SHOWN] for query in queries]


@pytest.mark.parametrize("address", QUERIES_MAX)
def test_a_page_asks_as_often_for_a_thousand_rows_as_for_ten(asked: dict[str, Asked], address: str) -> None:
    found = asked[address]
    assert len(found.few) <= QUERIES_MAX[address]
    assert len(found.many) <= len(found.few), found.many
