"""What /metrics says, read by Prometheus' own parser."""

from collections.abc import Mapping
from typing import Any

from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

TOKEN = "a-token-for-the-tests-alone"


def scrape(**headers: str) -> Any:
    return Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}", **headers})


def figures_of(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Each sample by its name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


class Figures:
    """A scrape, to be asked: a figure is the sum of the samples that have these labels."""

    def __init__(self, text: str) -> None:
        self.samples = figures_of(text)

    def __call__(self, name: str, **labels: str) -> float:
        return sum(value for (found, has), value in self.samples.items() if found == name and _fits(dict(has), labels))


def _fits(has: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(has.get(name) == value for name, value in wanted.items())


def now() -> Figures:
    response = scrape()
    assert response.status_code == 200, response.content
    return Figures(response.content.decode())
