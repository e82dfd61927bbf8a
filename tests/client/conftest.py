from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from finops_ai import Client

from tests.client.service import Service, serving
from tests.site import site

__all__ = ["client", "make_client", "service", "site"]

MakeClient = Callable[..., Client]


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as running:
        yield running


@pytest.fixture
def make_client(service: Service) -> Iterator[MakeClient]:
    """A client of the service; faults are tried again at once, so that no test waits."""
    with ExitStack() as stack:

        def make(**options: Any) -> Client:
            url = options.pop("url", service.url)
            client = Client(url, "aif_live_key", **{"backoff_seconds": 0.01, "flush_seconds": 0.02, **options})
            stack.callback(client.close, 0)
            return client

        yield make


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client()
