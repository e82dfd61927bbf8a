import pytest

from apps.organizations.models import Organization
from tests.alerts.fixtures import allowed, desk, hook, mail  # noqa: F401
from tests.api.tenants import make_api, make_org
from tests.world import Api


@pytest.fixture
def org() -> Organization:
    return make_org()


@pytest.fixture
def api(org: Organization) -> Api:
    """A client with every scope."""
    return make_api(org)
