"""The site in a process of its own, as production runs it."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from unittest import mock

import pytest
from aiosmtpd.controller import Controller

from bench.site import free_port, serving
from tests.identity import Zone, name_server


@dataclass(frozen=True, slots=True)
class Site:
    """Where the site answers, the mails it has sent, oldest first, and the names it looks up."""

    url: str
    inbox: list[EmailMessage]
    zone: Zone


@pytest.fixture(scope="session")
def site() -> Iterator[Site]:
    """This process's database behind a web server, with a mail server of its own."""
    with _mail_server() as server, name_server() as zone:
        environment = {
            "EMAIL_HOST": server.hostname,
            "EMAIL_PORT": str(server.port),
            "EMAIL_USE_TLS": "0",
            "DNS_SERVERS": zone.address,
            # Where identity providers of the tests are.
            "ALERTS_ALLOWED_NETWORKS": "127.0.0.0/8",
        }
        with mock.patch.dict(os.environ, environment), serving(workers=1) as running:
            yield Site(running.url, server.handler.inbox, zone)


@dataclass
class _Inbox:
    inbox: list[EmailMessage] = field(default_factory=list)

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:
        self.inbox.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 kept"


@contextmanager
def _mail_server() -> Iterator[Any]:
    server = Controller(_Inbox(), hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        yield server
    finally:
        server.stop()
