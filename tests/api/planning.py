"""Plans as tests write them, decided on through the API."""

from apps.teams.services import create_on_first_sight
from tests.api.tenants import make_org

SONNET = {"provider": "anthropic", "model": "claude-sonnet-4-5"}
HAIKU = {"provider": "anthropic", "model": "claude-haiku-4-5"}
NOBODY = {"provider": "acme", "model": "house-model-7"}
STEP = {
    "name": "answer",
    "model": SONNET,
    "prefix_tokens": 3000,
    "input_tokens": {"low": 300, "likely": 500, "high": 900},
    "output_tokens": 220,
    "tool_result_tokens": {"low": 500, "likely": 900, "high": 2000},
    "calls": {"low": 4, "likely": 6, "high": 9},
}
DEFINITION = {"steps": [STEP], "runs_per_month": {"low": 50_000, "likely": 100_000, "high": 200_000}}


def org_with_agent():
    """An organization that knows team search, project web and workflow agent."""
    org = make_org()
    create_on_first_sight(org=org, seen=[("search", "web", "agent")], actor="test")
    org.refresh_from_db()
    return org


def definition(**step):
    return {**DEFINITION, "steps": [{**STEP, **step}]}


def make(api, **fields):
    response = api.post("plans", {"name": "Support", "workflow": "agent", "definition": DEFINITION, **fields})
    assert response.status_code == 201, response.content
    return response.json()


def act(api, plan, name, status=200, **body):
    response = api.post(f"plans/{plan['id']}/{name}", body)
    assert response.status_code == status, response.content
    return response.json()


def approved(api, **fields):
    plan = make(api, **fields)
    return act(api, plan, "approve", version=1)


def live(api, **fields):
    return act(api, approved(api, **fields), "launch")
