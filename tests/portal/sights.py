"""The pages that people look at: for tests of what everybody has to be able to use, and for pictures of them."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from apps.accounts.models import User
from apps.budgets.services import BudgetTerms, create_budget
from apps.core.tenancy import tenant
from apps.organizations.permissions import Role
from apps.organizations.services import add_member
from apps.teams.selectors import workflow_by_slug
from apps.teams.services import set_workflow_owner
from tests.portal.conftest import Shop, fill, make_person, make_shop
from tests.world import make_event

# Below the organization's address, with what is on the picture.
SIGHTS: dict[str, str] = {
    "overview": "?range=30d",
    "explorer": "spend?range=30d",
    "forecast": "forecast",
    "runs": "runs?range=30d",
    "run": "runs/run-1",
    "events": "events?range=30d",
    "statements": "statements",
    "allocations": "allocations",
    "allocation-new": "allocations/new",
    "disputes": "statements/disputes",
    "adjustments": "statements/adjustments",
    "closing": "statements/closing",
    "bills": "invoices",
    "bill-new": "invoices/new",
    "bill-mappings": "invoices/mappings",
    "statement-mail": "statements/mail",
    "signals": "signals",
    "budgets": "budgets",
    "budget-new": "budgets/new",
    "plans": "plans",
    "plans-missing": "plans/missing",
    "months": "spend/months",
    "plan-choice": "plans/new",
    "plan-new": "plans/new?from=support",
    "reservations": "reservations",
    "run-bounds": "run-bounds",
    "stop": "stop",
    "savings": "savings",
    "alerts": "alerts",
    "deliveries": "alerts/deliveries",
    "unattributed": "unattributed?range=30d",
    "unpriced": "unpriced?range=30d",
    "declared": "declared?range=30d",
    "teams": "teams",
    "team": "teams/search",
    "projects": "projects",
    "project": "projects/search-project",
    "workflows": "workflows",
    "workflow": "workflows/search-agent",
    "rules": "rules",
    "rule-new": "rules/new",
    "prices": "prices",
    "price": "prices/openai/o3",
    "contracts": "contracts",
    "contract-new": "contracts/new",
    "reratings": "reratings",
    "members": "members",
    "member-invite": "members/invite",
    "keys": "keys",
    "key-new": "keys/new",
    "organization": "organization",
    "single-sign-on": "single-sign-on",
    "audit": "audit",
    "first-event": "first-event",
}
# Of a person, signed in.
OWN: dict[str, str] = {
    "organizations": "/o/",
    "organization-new": "/organizations/new",
    "account-email": "/accounts/email/",
    "account-password": "/accounts/password/change/",
    "account-factors": "/accounts/2fa/",
    "account-app": "/accounts/2fa/totp/activate/",
    "account-passkey": "/accounts/2fa/webauthn/add/",
    "account-sessions": "/accounts/sessions/",
}
# Of anybody.
DOORS: dict[str, str] = {
    "sign-in": "/accounts/login/",
    "sign-up": "/accounts/signup/",
    "reset": "/accounts/password/reset/",
    "sso": "/sso/",
}


def sights(shop: Shop) -> dict[str, str]:
    return {**{name: shop.url(path) for name, path in SIGHTS.items()}, **OWN}


# Who comes home to which picture.
HOMES: dict[str, Role] = {
    "home-owner": Role.OWNER,
    "home-finance": Role.FINANCE,
    "home-engineer": Role.ENGINEER,
    "home-lead": Role.LEAD,
}
BUDGETS = (("All of it", {}, "0.8"), ("Search", {"team": "search"}, "0.4"), ("Growth", {"team": "growth"}, "100"))


def make_homes() -> tuple[Shop, dict[str, User]]:
    """A shop in which every card of the overview has something to say, and who looks at it, by picture."""
    shop = make_shop()
    fill(shop)
    shop.api.send(*(_earlier(days) for days in range(31, 35)))
    for name, scope, usd in BUDGETS:
        terms = BudgetTerms(name=name, scope=scope, period="month", amount_usd=Decimal(usd))
        create_budget(org=shop.org, terms=terms, actor="tests")
    people = {}
    for picture, role in HOMES.items():
        person = people[picture] = make_person(role)
        teams = ["search"] if role == Role.LEAD else []
        add_member(org=shop.org, user=person, role=role, teams=teams, actor=None)
    with tenant(shop.org):
        workflow = workflow_by_slug(shop.org, "search-agent")
    assert workflow
    set_workflow_owner(org=shop.org, workflow=workflow, email=people["home-engineer"].email, actor=None)
    return shop, people


def _earlier(days: int) -> dict[str, object]:
    then = datetime.now(UTC) - timedelta(days=days)
    return make_event(occurred_at=then.isoformat(), team="search", workflow="search-agent")
