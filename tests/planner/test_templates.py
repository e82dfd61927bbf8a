from functools import cache

import pytest
from genai_prices.data_snapshot import get_snapshot

from apps.planner.estimate import draw
from apps.planner.levers import waterfall
from apps.planner.templates import TEMPLATES
from tests.planner.plans import card

NAMES = ["chat", "rag", "triage", "support", "research", "coding", "extraction"]


@cache
def published() -> set[tuple[str, str]]:
    return {(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models}


def test_there_is_a_template_for_what_people_build() -> None:
    assert list(TEMPLATES) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_template_names_models_that_have_a_price(name: str) -> None:
    models = {(step.model.provider, step.model.model) for step in TEMPLATES[name].plan.steps}
    models |= {(m.provider, m.model) for step in TEMPLATES[name].plan.steps if (m := step.escalates_to)}

    assert models <= published()


@pytest.mark.parametrize("name", NAMES)
def test_a_template_can_be_reckoned_and_leaves_much_open(name: str) -> None:
    template = TEMPLATES[name]
    models = {step.model for step in template.plan.steps} | {
        step.escalates_to for step in template.plan.steps if step.escalates_to
    }
    cards = {model: card(1, 5) if "sonnet" not in model.model else card(3, 15) for model in models}

    found = draw(template.plan, cards, seed=1, draws=2_000, budget_usd=1_000)

    assert 0 < found.months[0].p10 < found.months[0].p50 < found.months[0].p90
    # Nothing was measured yet: the budget to ask for is well above the middle, and growth alone moves every one.
    assert found.months[0].p90 / found.months[0].p50 > 1.8
    assert {"runs_per_month", "growth"} <= {driver.name for driver in found.drivers}
    assert len(waterfall(template.plan, cards, 1)) == 8
