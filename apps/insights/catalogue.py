"""The catalogue: every lever there is, pulled on one workflow. Pure."""

from apps.insights import levers_of_calls, levers_of_runs
from apps.insights.recommendations import Found, found_of, largest
from apps.insights.savings_facts import Prices, WorkflowFacts

LEVERS = (*levers_of_calls.LEVERS, *levers_of_runs.LEVERS)


def recommend(facts: WorkflowFacts, prices: Prices, seed: int = 0) -> list[Found]:
    """What the workflow could save, the largest headline first; nothing where it cost nothing that is known."""
    if facts.days <= 0 or facts.usd <= 0:
        return []
    pulls = (pull for lever in LEVERS for pull in lever(facts, prices, seed))
    return largest(found for pull in pulls if (found := found_of(pull, facts, prices)) is not None)
