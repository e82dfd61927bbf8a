"""What the road needs to know of an organization, kept per process until it changes."""

from dataclasses import dataclass, field
from datetime import datetime

from apps.core.periods import Calendar
from apps.organizations.kept import KeptByFacts
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.catalog import Catalog
from apps.pricing.contracts import Term
from apps.pricing.rating import ModelAliases, RateBook
from apps.pricing.selectors import load_model_aliases, load_terms
from apps.teams.attribution import Names
from apps.teams.selectors import load_names
from apps.usage.selectors import sealed_before


@dataclass(frozen=True, slots=True)
class Facts:
    """`sealed_before`: events whose hour begins earlier have been sealed and can no longer be added to."""

    names: Names
    calendar: Calendar
    sealed_before: datetime
    terms: list[Term]
    model_aliases: ModelAliases
    _books: dict[int, RateBook] = field(default_factory=dict)

    def book(self, catalog: Catalog) -> RateBook:
        """The organization's prices at a catalog; made once for each catalog, and only the latest is kept."""
        book = self._books.get(id(catalog))
        if book is None:
            self._books.clear()
            book = self._books[id(catalog)] = RateBook(catalog, self.terms, self.model_aliases)
        return book


def _load(org: Organization) -> Facts:
    return Facts(load_names(org), calendar(org), sealed_before(org), load_terms(org), load_model_aliases(org))


load_facts = KeptByFacts(_load)
