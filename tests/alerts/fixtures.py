"""Receivers on this machine, for tests of alerts through any door; a conftest imports them."""

from collections.abc import Iterator
from ipaddress import ip_network
from typing import Any

import pytest

from tests.alerts.desk import Desk
from tests.alerts.receivers import Post, Receiver, post, receiver


@pytest.fixture
def allowed(settings: Any) -> None:
    """The installation allows this machine, where the receivers of the tests are."""
    settings.ALERTS_ALLOWED_NETWORKS = (ip_network("127.0.0.0/8"),)


@pytest.fixture
def hook(allowed: None) -> Iterator[Receiver]:
    with receiver() as found:
        yield found


@pytest.fixture
def mail(settings: Any) -> Iterator[Post]:
    with post() as found:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_USE_TLS = found.host, found.port, False
        yield found


@pytest.fixture
def desk() -> Desk:
    return Desk()
