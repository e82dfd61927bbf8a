"""What explaining a month costs: 20,000 leaves (workflow, model, token class) on both sides, and what is left over.

`python -m bench.variance` runs it alone: it needs no database.
"""

import json
import random
import time
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from apps.core.money import EXACT, sum_usd
from apps.planner.shapes import ModelChoice
from apps.planner.variance import CLASSES, ClassUse, ModelUse, WorkflowUse, explain

WORKFLOWS, MODELS, CLASSES_USED = 1_000, 4, 5
ROUNDS = 5
AIM_SECONDS = 1


def measure() -> Iterator[dict[str, Any]]:
    rng = random.Random(7)
    before, after = _side(rng), _side(rng)
    seconds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        found = explain(before, after)
        seconds.append(time.process_time() - began)
    leaves = WORKFLOWS * MODELS * CLASSES_USED
    yield {
        "name": "variance_explained",
        "value": round(min(seconds), 3),
        "unit": "CPU s",
        "detail": f"{leaves} leaves on both sides, best of {ROUNDS} rounds; the aim is below {AIM_SECONDS}",
    }
    left_over = EXACT.subtract(sum_usd(line.usd for line in found.lines), found.change_usd)
    yield {
        "name": "variance_residual",
        "value": float(left_over),
        "unit": "USD",
        "detail": f"of a change of {found.change_usd:.2f} USD in {len(found.lines)} lines; the aim is 0",
    }


def _side(rng: random.Random) -> list[WorkflowUse]:
    return [
        WorkflowUse(f"workflow-{number}", float(rng.randint(100, 10_000)), tuple(_model(rng, n) for n in range(MODELS)))
        for number in range(WORKFLOWS)
    ]


def _model(rng: random.Random, number: int) -> ModelUse:
    attempts = rng.randint(1_000, 100_000)
    classes = {
        name: ClassUse(float(rng.randint(1, 10**9)), Decimal(rng.randint(1, 10**14)).scaleb(-12))
        for name in CLASSES[:CLASSES_USED]
    }
    return ModelUse(ModelChoice("bench", f"model-{number}"), float(attempts), attempts * 0.05, attempts * 0.1, classes)


if __name__ == "__main__":
    for line in measure():
        print(json.dumps(line), flush=True)
