import pytest

from apps.organizations.models import Organization
from apps.usage import repricing
from tests.api.tenants import make_api, make_org
from tests.world import Api


@pytest.fixture
def org() -> Organization:
    return make_org()


@pytest.fixture
def api(org: Organization) -> Api:
    """A client with every scope."""
    return make_api(org)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repricing, "EVENTS_A_BATCH", 7)
