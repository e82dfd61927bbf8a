"""How to call every operation of the API and every page, and where in the call an id or a name can stand.

Texts are templates over one side's names (`tests.api.stage.Names`): "{team}" is the team of whoever is meant.
"""

from tests.api.recipes.pages import PAGES
from tests.api.recipes.reads import READS
from tests.api.recipes.recipe import Recipe
from tests.api.recipes.writes import WRITES

__all__ = ["API", "PAGES", "PUBLIC", "Recipe"]

# In the order of the probe: reads, then writes.
API = {**READS, **WRITES}

# Addresses that belong to no organization, and why each may stay without a recipe.
PUBLIC = {
    "/healthz": "asked by a load balancer",
    "/readyz": "asked by a load balancer",
    "/metrics": "asked by Prometheus, with a token: figures of the installation",
    "/api/v1/schema": "describes the API, holds no data",
    "/operator/prices": "for operators: the catalog, which is nobody's",
    "/staff/": "for operators, who look after every organization: tests/portal/test_staff.py says who enters",
    "/looking/end": "an operator's own looking as a member, of no organization",
    "/api/v1/docs": "describes the API, holds no data",
    "/sso/": "leads to an organization's own sign-in, before anybody belongs to anything",
    "/unsubscribe/{token}": "opened and posted to by whoever got the mail: its token says whose digest it ends",
    "/invitations/{token}": "read by whoever got the mail, before they belong to anything",
    "/account/sessions/{session_id}/end": "a person's own sessions, of no organization",
    "/accounts/": "allauth: signing in and out, before any organization is chosen",
}
