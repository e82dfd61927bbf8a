"""Workflows as they might have been seen, for tables of cases."""

from typing import Any

import numpy as np

from apps.insights.savings_facts import Cell, Prices, Runs, WorkflowFacts
from apps.planner.shapes import Card, ModelChoice

LARGE, SMALL = ModelChoice("anthropic", "large"), ModelChoice("anthropic", "small")
ELSEWHERE = ModelChoice("aws", "large")
# The cards of docs/planner.md's worked examples, in USD a token: LARGE 3 and 15 a million, SMALL 0.25 and 2.
LARGE_CARD = Card(3e-6, 15e-6, 0.3e-6, 3.75e-6, 6e-6, 1_024, 0.5)
SMALL_CARD = Card(0.25e-6, 2e-6, 0.025e-6, 0.3125e-6, 0.5e-6, 1_024, 0.5)
FREE_WRITES = Card(3e-6, 15e-6, 0.3e-6, 3e-6, 3e-6, 1_024, 1.0)
PRICES = Prices({LARGE: LARGE_CARD, SMALL: SMALL_CARD}, cheaper={LARGE: (SMALL,)})


def cell(choice: ModelChoice = LARGE, card: Card = LARGE_CARD, **seen: Any) -> Cell:
    """A cell whose cost is that of its tokens, unless `usd` is given."""
    made = Cell(choice.provider, choice.model, **{"calls": 10_000, "input": 1e8, "output": 2e6, **seen})
    if "usd" in seen:
        return made
    return Cell(**{**{name: getattr(made, name) for name in Cell.__dataclass_fields__}, "usd": made.reckoned_usd(card)})


def runs(calls: list[float], **seen: Any) -> Runs:
    """Runs of so many calls, a cent a call, all of them successes unless `outcome` says otherwise."""
    made = np.array(calls, float)
    return Runs(
        **{
            "counted": len(calls),
            "calls": made,
            "steps": made,
            "usd": made * 0.01,
            "outcome": np.ones(len(calls)),
            "prompt": made * 1_000,
            "slope": np.zeros(len(calls)),
            "failed": np.zeros(len(calls)),
            "ids": tuple(f"run-{number}" for number in range(len(calls))),
            **seen,
        }
    )


def facts(*cells: Cell, **seen: Any) -> WorkflowFacts:
    return WorkflowFacts(**{"workflow": "triage", "days": 28.0, "cells": cells, "runs": Runs.none(), **seen})
