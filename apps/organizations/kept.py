"""What a process keeps of an organization until its facts change."""

from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar

from apps.core.tenancy import tenant
from apps.organizations.models import Organization

ORGANIZATIONS_KEPT = 1_000

T = TypeVar("T")


class KeptByFacts(Generic[T]):
    """What `load(org)` reads inside `tenant(org)`, at `org.facts_version`: that moves in the transaction of every
    change to it. Of the organizations used last.
    """

    def __init__(self, load: Callable[[Organization], T]) -> None:
        self._load = load
        self._kept: OrderedDict[tuple[int, int], T] = OrderedDict()
        self._lock = Lock()

    def __call__(self, org: Organization) -> T:
        key = (org.pk, org.facts_version)
        with self._lock:
            if (kept := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return kept
        with tenant(org):
            kept = self._load(org)
        with self._lock:
            self._kept[key] = kept
            while len(self._kept) > ORGANIZATIONS_KEPT:
                self._kept.popitem(last=False)
        return kept
