"""What Postgres is asked for a decision of `bench.load`, with `REQUEST` and `USER` in place of what changes."""

from django.utils import timezone

from apps.budgets import decisions
from apps.budgets.watch import load_watch
from apps.ingest.asking import DecisionRequest, asked_of_decision, read
from apps.organizations.selectors import Principal
from bench.load import asked


def template_for(principal: Principal) -> str:
    """The parameter of `budgets_reserve`."""
    import msgspec

    body = {**asked("0", 1), "request_id": "REQUEST", "user": "USER"}
    request = asked_of_decision(read(msgspec.json.encode(body), DecisionRequest))
    watch = load_watch(principal.organization)
    question = decisions._question(principal, request, watch, timezone.now(), (), may_free=True)
    assert not isinstance(question, decisions.Decision), question
    return question.parameters[0]


def statement_for(principal: Principal) -> str:
    """The whole transaction as `tenancy.ask` sends it, but it may wait: nobody stands before 64 clients in a queue."""
    from psycopg import sql

    text = sql.Literal(template_for(principal)).as_string(None)
    return (
        f"BEGIN; SET LOCAL app.org = '{principal.organization.pk:d}';"
        f" SELECT budgets_reserve({text}::jsonb)::text; COMMIT"
    )
