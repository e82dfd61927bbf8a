from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from pytest_django.plugin import blocking_manager_key

from tests import (
    database,
    servers,  # before anything that reads the settings
)
from tests.world import World, make_world

# No test fails because the machine is slow.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


def pytest_unconfigure() -> None:
    if servers.IS_CONTROLLER:
        database.drop_run()
    servers.stop()


@pytest.fixture(scope="session", autouse=True)
def _database(request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests run on committed data: each makes its own organizations, and nothing is rolled back."""
    with request.config.stash[blocking_manager_key].unblock():
        database.create()
        yield
        database.close()


@pytest.fixture
def world() -> World:
    return make_world()
