"""What a step usually costs, for callers who do not say."""

from decimal import Decimal
from random import Random

from apps.budgets import history
from apps.budgets.services import reckon_step_costs
from tests.api.test_decisions import allowed, api, denied, org
from tests.database import as_worker
from tests.usage.reratings import contract
from tests.world import make_event

__all__ = ["api", "org"]  # fixtures


def reckon(org):
    with as_worker():
        reckon_step_costs(org.pk)
    history._kept.clear()


def calls(api, costs, **fields):
    """Events that cost so many USD each: in multiples of 3, at 15 USD a million tokens."""
    api.send(
        *(make_event(workflow="agent", usage={"output_tokens": cost * 1_000_000 // 15}, **fields) for cost in costs)
    )


def held(api, **fields):
    return Decimal(allowed(api, workflow="agent", **fields)["held_usd"])


def test_the_95th_percentile_of_the_step_then_of_its_task_then_of_the_workflow(org, api):
    calls(api, range(3, 63, 3), step=1, task_type="coding")  # 20 calls: 3, 6 ... 60
    calls(api, [300] * 20, task_type="summarization")
    calls(api, [900] * 2, step=2)
    denied(api, "estimate_needed", workflow="agent", step=1)
    reckon(org)
    assert held(api, step=1) == 57
    assert held(api, step=9, task_type="coding") == 57
    assert held(api, step=2) == 300  # 2 calls are no history of a step: 42 of the workflow are
    assert held(api, task_type="summarization") == 300
    assert held(api, task_type="coding") == 57
    denied(api, "estimate_needed", workflow="agent", step=1, model="claude-haiku-4-5")
    denied(api, "estimate_needed", step=1)


def test_it_is_reckoned_again(org, api):
    calls(api, [3] * 20, step=1)
    reckon(org)
    calls(api, [30] * 20, step=1)
    reckon(org)
    assert held(api, step=1) == 30


def test_names_as_long_as_they_may_be_have_a_history_too(org, api):
    random = Random(1)
    workflow, provider, model = ("".join(chr(random.randrange(0x20000, 0x2A000)) for _ in range(256)) for _ in range(3))
    contract(api, provider=provider, model=model, rates={"input_tokens": "1", "output_tokens": "1"})
    event = {"provider": provider, "model": model, "usage": {"output_tokens": 1_000_000}}
    api.send(*(make_event(workflow=workflow, **event) for _ in range(20)))
    calls(api, [3] * 20)
    reckon(org)
    assert held(api) == 3
