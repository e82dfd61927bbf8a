"""Columns of the fact store."""

from typing import Any

from django.db import models

from apps.core.money import COST_MAX_USD


class Count(models.DecimalField):  # type: ignore[type-arg]
    """A sum of integers: NUMERIC, since a sum of many large quantities outgrows bigint."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 38, "decimal_places": 0, "default": 0, **options})


class Usd(models.DecimalField):  # type: ignore[type-arg]
    def __init__(self, **options: Any) -> None:
        super().__init__(**{"max_digits": 38, "decimal_places": 12, **options})


def money_within(column: str, name: str, *, signed: bool = False) -> models.CheckConstraint:
    """NaN and Infinity pass `>= 0` in Postgres, so an amount needs its upper bound too."""
    lowest = -COST_MAX_USD if signed else 0
    condition = models.Q(**{f"{column}__gte": lowest, f"{column}__lt": COST_MAX_USD})
    return models.CheckConstraint(condition=condition | models.Q(**{f"{column}__isnull": True}), name=name)
