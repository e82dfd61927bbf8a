"""What a step usually costs, for callers who do not say: the 95th percentile of its own past calls."""

from datetime import timedelta
from decimal import Decimal
from time import monotonic

from apps.budgets.models import StepCost
from apps.core.tenancy import HasPk, tenant

SAMPLES_MIN = 20
WINDOW = timedelta(days=28)
KEPT_SECONDS = 60
KEPT_MAX = 20_000

Step = tuple[int, str | None, int | None, str | None, str, str]

_kept: dict[Step, tuple[float, Decimal | None]] = {}


def usual_cost(
    org: HasPk, *, workflow: str | None, step: int | None, task_type: str | None, provider: str, model: str
) -> Decimal | None:
    """P95 in USD of the model's calls in the workflow: of this step, else of this task type, else of any; None below
    `SAMPLES_MIN` calls.
    """
    key = (org.pk, workflow, step, task_type, provider, model)
    now = monotonic()
    if (kept := _kept.get(key)) is not None and now - kept[0] < KEPT_SECONDS:
        return kept[1]
    if len(_kept) >= KEPT_MAX:
        _kept.clear()
    found = _find(org, workflow, step, task_type, provider, model)
    _kept[key] = (now, found)
    return found


def _find(
    org: HasPk, workflow: str | None, step: int | None, task_type: str | None, provider: str, model: str
) -> Decimal | None:
    if workflow is None:
        return None
    with tenant(org):
        rows = list(
            StepCost.objects.for_org(org).filter(
                workflow=workflow, provider=provider, model=model, calls__gte=SAMPLES_MIN
            )
        )
    own = [(step, None)] if step is not None else []
    task = [(None, task_type)] if task_type is not None else []
    for wanted in (*own, *task, (None, None)):
        for row in rows:
            if (row.step, row.task_type) == wanted:
                p95_usd: Decimal = row.p95_usd
                return p95_usd
    return None
