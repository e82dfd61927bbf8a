"""The budgets of the invented company, chosen so that each page about budgets has something to show."""

from datetime import timedelta
from decimal import Decimal
from uuid import UUID

from django.utils import timezone

from apps.alerts.channels import create_channel
from apps.alerts.selectors import list_channels
from apps.budgets.decisions import Asked, decide, release
from apps.budgets.models import Budget
from apps.budgets.services import BudgetTerms, ask_raise, create_budget, set_run_bound
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import Principal
from apps.organizations.services import touch_facts

CAP = "Growth cap"
BUDGETS = (
    BudgetTerms(
        name="All of it",
        period="month",
        amount_usd=Decimal(1400),
        thresholds=(50, 80, 100),
        forecast_thresholds=(100,),
    ),
    BudgetTerms(
        name="Platform cap",
        scope={"team": "platform"},
        period="month",
        amount_usd=Decimal(500),
        mode="block",
        thresholds=(50, 80, 95, 100),
        forecast_thresholds=(100,),
    ),
    BudgetTerms(
        name=CAP,
        scope={"team": "growth"},
        period="month",
        amount_usd=Decimal(100),
        mode="block",
    ),
    BudgetTerms(
        name="Per person and day",
        scope={"user": "*"},
        period="day",
        amount_usd=Decimal(20),
        thresholds=(80, 100),
    ),
    BudgetTerms(
        name="Support agent, cheaper above",
        scope={"workflow": "support-agent"},
        period="day",
        amount_usd=Decimal(12),
        mode="downgrade",
        downgrade_to={"provider": "anthropic", "model": "claude-haiku-4-5"},
        thresholds=(80, 100),
    ),
    BudgetTerms(
        name="Search in production",
        scope={"team": "search", "environment": "prod"},
        period="quarter",
        amount_usd=Decimal(400),
        rollover=True,
    ),
)
RUN_BOUNDS = {
    "code-review-agent": {"max_cost_usd": Decimal(8), "max_steps": 200, "max_same_tool_calls": 5},
    "incident-investigator": {"max_cost_usd": Decimal(12), "max_seconds": 3600},
}
HOLD_SECONDS = 3600
# A period that was over when a budget was made is not its own.
MADE_BEFORE = timedelta(days=60)
# Team, project, workflow, what is held; the last is released again.
CALLS = (
    ("platform", "developer-tools", "code-review-agent", "6.40"),
    ("platform", "infrastructure", "incident-investigator", "9.50"),
    ("search", "answers", "rag-answers", "0.08"),
    ("support", "help-desk", "support-agent", "0.30"),
    ("search", "answers", "deep-answers", "0.02"),
)


def furnish_budgets(org: Organization, actor: object) -> None:
    """Before the sample is replayed, and as if made before its first call: past periods are counted as they were."""
    for terms in BUDGETS:
        create_budget(org=org, terms=terms, actor=actor)
    with tenant(org):
        Budget.objects.for_org(org).update(created_at=timezone.now() - MADE_BEFORE)
        touch_facts(org)
    for workflow, bounds in RUN_BOUNDS.items():
        set_run_bound(org=org, workflow=workflow, bounds=bounds, actor=actor)


def furnish_channel(org: Organization, actor: object) -> None:
    """After the sample is replayed: what crossed in its past is no news, so that nobody is mailed about it.

    Without a mail server the mail is printed by the worker. Only what is critical comes at once.
    """
    with tenant(org):
        if list_channels(org).exists():
            return
    create_channel(
        org=org,
        actor=actor,
        kind="email",
        name="Finance",
        target="finance@example.com",
        min_severity="warning",
        digest="daily",
    )


def ask_for_some(principal: Principal) -> None:
    """After the sample is replayed: calls that are held for now, one that a cap refuses, and a raise asked for."""
    org = principal.organization
    for number, (team, project, workflow, usd) in enumerate(CALLS):
        answer = decide(principal, _asked(f"demo-{number}", team, project, workflow, usd))
    if answer.reservation_id is not None:
        release(principal, UUID(answer.reservation_id))
    decide(principal, _asked("demo-refused", "growth", "experiments", "landing-page-agent", "0.40"))
    with tenant(org):
        cap = Budget.objects.for_org(org).get(name=CAP, ended_at=None)
    ask_raise(
        org=org,
        budget_id=cap.pk,
        amount_usd=Decimal(50),
        expires_at=timezone.now() + timedelta(days=3),
        reason="The landing pages of the winter campaign are not done yet",
        actor="lena@example.com",
    )


def _asked(request_id: str, team: str, project: str, workflow: str, usd: str) -> Asked:
    return Asked(
        request_id=request_id,
        provider="anthropic",
        model="claude-sonnet-4-5",
        team=team,
        project=project,
        workflow=workflow,
        environment="prod",
        run_id=f"{workflow}-{request_id}",
        estimate_usd=Decimal(usd),
        ttl_seconds=HOLD_SECONDS,
        fingerprint=request_id.encode().ljust(16, b"\0")[:16],
    )
