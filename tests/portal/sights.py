"""The pages that people look at: for tests of what everybody has to be able to use, and for pictures of them."""

from tests.portal.conftest import Shop

# Below the organization's address, with what is on the picture.
SIGHTS: dict[str, str] = {
    "overview": "?range=30d",
    "explorer": "spend?range=30d",
    "runs": "runs?range=30d",
    "run": "runs/run-1",
    "events": "events?range=30d",
    "statements": "statements",
    "budgets": "budgets",
    "budget-new": "budgets/new",
    "reservations": "reservations",
    "run-bounds": "run-bounds",
    "stop": "stop",
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
