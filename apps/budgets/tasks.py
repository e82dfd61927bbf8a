from celery import shared_task

from apps.budgets import ahead, counting, decisions, measures, runs, services
from apps.organizations.selectors import organizations_budgeted
from apps.usage.services import for_each_of


@shared_task(name="budgets.tend")
def tend() -> None:
    """Holds and raises whose time is over end."""
    budgeted = organizations_budgeted()
    for_each_of(budgeted, decisions.free_due)
    for_each_of(budgeted, services.end_raises)


@shared_task(name="budgets.count_postings")
def count_postings() -> None:
    """Apart from what ends in time: after a long re-rating there is much to count."""
    for_each_of(organizations_budgeted(), counting.count_postings)


@shared_task(name="budgets.measure")
def measure() -> None:
    measures.measure()


@shared_task(name="budgets.reconcile")
def reconcile() -> None:
    for_each_of(organizations_budgeted(), counting.reconcile)


@shared_task(name="budgets.cross_forecasts")
def cross_forecasts() -> None:
    """Budgets whose forecast, or run rate, has reached a forecast threshold."""
    for_each_of(organizations_budgeted(), ahead.cross_forecasts)


@shared_task(name="budgets.reckon_step_costs", time_limit=1800, soft_time_limit=1700)
def reckon_step_costs() -> None:
    for_each_of(organizations_budgeted(), services.reckon_step_costs)


@shared_task(name="budgets.forget", time_limit=1800, soft_time_limit=1700)
def forget() -> None:
    """Runs that were quiet for 30 days, and reservations closed long ago."""
    budgeted = organizations_budgeted()
    for_each_of(budgeted, runs.forget_runs)
    for_each_of(budgeted, services.forget_reservations)
