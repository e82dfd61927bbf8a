"""What the road needs to know of an organization, kept per process until it changes."""

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime
from threading import Lock

from apps.core.periods import Calendar
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar
from apps.pricing.catalog import Catalog
from apps.pricing.contracts import Term
from apps.pricing.rating import ModelAliases, RateBook
from apps.pricing.selectors import load_model_aliases, load_terms
from apps.teams.attribution import Names
from apps.teams.selectors import load_names
from apps.usage.selectors import sealed_before

ORGANIZATIONS_KEPT = 1_000


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


_kept: "OrderedDict[tuple[int, int], Facts]" = OrderedDict()
_lock = Lock()


def load_facts(org: Organization) -> Facts:
    """The facts at `org.facts_version`, which moves in the transaction of every change to them."""
    key = (org.pk, org.facts_version)
    with _lock:
        facts = _kept.get(key)
        if facts is not None:
            _kept.move_to_end(key)
            return facts
    with tenant(org):
        facts = Facts(load_names(org), calendar(org), sealed_before(org), load_terms(org), load_model_aliases(org))
    with _lock:
        _kept[key] = facts
        while len(_kept) > ORGANIZATIONS_KEPT:
            _kept.popitem(last=False)
    return facts
