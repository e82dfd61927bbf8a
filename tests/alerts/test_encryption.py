"""What channels hold stands encrypted in the database, opens by any key of the installation, and by no other."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections

from apps.alerts.channels import rotate_secret, secret_of
from apps.alerts.models import Channel
from apps.alerts.services import forget_old
from apps.core.encryption import Unreadable, decrypt
from apps.core.tenancy import tenant
from tests.alerts.desk import Desk
from tests.alerts.receivers import Receiver
from tests.database import as_worker, owner_url

ROOT = Path(__file__).parents[2]
OLD, NEW = "the-old-key-the-old-key-the-old-key-1", "the-new-key-the-new-key-the-new-key-2"


@pytest.fixture
def keys(settings: Any) -> Iterator[Any]:
    """Sets the keys of the installation; what channels hold afterwards is as other tests expect it."""
    usual = list(settings.ENCRYPTION_KEYS)

    def use(*keys: str) -> None:
        # Second factors that other tests made are encrypted by the usual one.
        settings.ENCRYPTION_KEYS = list(dict.fromkeys((*keys, *usual)))

    yield use
    use(*usual, NEW, OLD)
    encrypt_anew()


def stored(channel: Channel) -> tuple[str, ...]:
    """The row as whoever has the database sees it."""
    with psycopg.connect(owner_url()) as owner:
        statement = "SELECT target, secret, previous_secret FROM alerts_channel WHERE id = %s"
        row = owner.execute(statement, [channel.pk]).fetchone()
    assert row is not None
    return row


def encrypt_anew() -> str:
    said = io.StringIO()
    call_command("encrypt_anew", stdout=said)
    return said.getvalue()


def test_the_database_holds_neither_url_nor_address_nor_secret(desk: Desk, hook: Receiver) -> None:
    webhook = desk.channel("webhook", hook.url)
    first = secret_of(webhook)
    rotate_secret(org=desk.org, channel_id=webhook.pk, actor=None)
    mail = desk.channel("email", "cfo@example.com")
    text = repr([stored(webhook), stored(mail)])
    assert all(part.startswith("gAAAA") for part in stored(webhook))
    assert not any(secret in text for secret in (first, hook.url, "/hook", "whsec_", "cfo@example.com"))
    assert decrypt(stored(webhook)[2]) == first


def test_a_secret_that_signs_no_more_is_wiped(desk: Desk, hook: Receiver) -> None:
    channel = desk.channel("webhook", hook.url)
    rotate_secret(org=desk.org, channel_id=channel.pk, actor=None)
    for hours, kept in ((23, True), (25, False)):
        with as_worker():
            forget_old(desk.org.pk, at=desk.now + timedelta(hours=hours))
        assert bool(stored(channel)[2]) is kept
    assert secret_of(desk.reread(channel))


def test_what_is_not_encrypted_cannot_be_stored(desk: Desk, hook: Receiver) -> None:
    channel = desk.channel("webhook", hook.url)
    for name in ("target", "secret", "previous_secret"):
        with tenant(desk.org), pytest.raises(IntegrityError, match="is_encrypted"):
            Channel.objects.for_org(desk.org).filter(pk=channel.pk).update(**{name: "https://in.the.clear/"})


def test_keys_are_changed_while_messages_go_out(desk: Desk, hook: Receiver, keys: Any, settings: Any) -> None:
    usual = settings.ENCRYPTION_KEYS
    keys(OLD)
    channel = desk.channel("webhook", hook.url)
    before = stored(channel)
    keys(NEW, OLD, *usual)
    desk.cross()
    assert desk.work() == 1
    assert "Encrypted anew: " in encrypt_anew()
    assert stored(channel)[:2] != before[:2]
    keys(NEW)
    desk.cross()
    assert desk.later(seconds=1) == 1
    assert len(hook.requests) == 2
    keys(OLD)
    with pytest.raises(Unreadable):
        secret_of(desk.reread(channel))


def test_a_key_that_is_gone_is_said_in_the_log_and_what_waits_goes_when_it_is_back(
    desk: Desk, hook: Receiver, keys: Any
) -> None:
    """One channel that cannot be opened keeps neither the worker nor another channel."""
    keys(OLD)
    desk.channel("webhook", hook.url)
    keys(NEW)
    desk.channel("webhook", hook.url)
    desk.cross()
    desk.work()
    assert sorted(one.state for one in desk.deliveries()) == ["pending", "sent"]
    (waiting,) = [one for one in desk.deliveries() if one.state == "pending"]
    assert "ENCRYPTION_KEYS" in waiting.error
    assert not waiting.may_have_arrived
    with pytest.raises(CommandError, match=str(desk.org.pk)):
        encrypt_anew()
    keys(NEW, OLD)
    desk.later(minutes=1)
    assert {one.state for one in desk.deliveries()} == {"sent"}


def test_rows_of_before_are_encrypted_where_they_are(desk: Desk, hook: Receiver) -> None:
    channel = desk.channel("webhook", hook.url)
    secret = secret_of(channel)
    try:
        call_command("migrate", "alerts", "0001", verbosity=0)
        assert stored(channel) == (hook.url, secret, "")
    finally:
        call_command("migrate", "alerts", verbosity=0)
        connections["owner"].close()
    assert stored(channel)[0].startswith("gAAAA")
    desk.cross()
    desk.work()
    assert len(hook.requests) == 1


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("", "ENCRYPTION_KEYS is not set"),
        ("too-short", "shorter than 32 characters"),
        (f"{OLD},", "shorter than 32 characters"),
        (f"{OLD},{OLD}", "the same key twice"),
    ],
)
def test_the_deployment_check_refuses_keys_that_are_none(keys: str, said: str) -> None:
    environment = {**os.environ, "ENCRYPTION_KEYS": keys, "DJANGO_SETTINGS_MODULE": "finops.settings"}
    environment.pop("ENCRYPTION_KEYS_FILE", None)
    command = [sys.executable, "manage.py", "check", "--deploy"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert OLD not in done.stderr
