"""Two people, or a person and a worker, at one channel in the same moment: neither undoes what the other did."""

import threading
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from standardwebhooks import Webhook

from apps.alerts import services
from apps.alerts.channels import change_channel, delete_channel, rotate_secret, secret_of, set_active
from apps.alerts.models import Channel
from apps.core.errors import NotFound
from tests.alerts.desk import Desk
from tests.alerts.receivers import Receiver
from tests.database import as_worker, hanging_up, owner_url
from tests.usage.ledger import eventually


def while_held(channel: Channel, first: Callable[[], object], second: Callable[[], object]) -> list[BaseException]:
    """Both begin while somebody holds the channel's row; what each raised."""
    errors: list[BaseException] = []

    @hanging_up
    def run(act: Callable[[], object]) -> None:
        try:
            act()
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=[act]) for act in (first, second)]
    waiting = (
        "SELECT count(*) FROM pg_locks WHERE NOT granted"
        " AND pid IN (SELECT pid FROM pg_stat_activity WHERE datname = current_database())"
    )
    with psycopg.connect(owner_url()) as holder, psycopg.connect(owner_url(), autocommit=True) as looks:
        holder.execute("SELECT 1 FROM alerts_channel WHERE id = %s FOR UPDATE", [channel.pk])
        for count, thread in enumerate(threads, 1):
            thread.start()
            eventually(lambda count=count: looks.execute(waiting).fetchone()[0] == count)
    for thread in threads:
        thread.join()
    return errors


@pytest.fixture
def channel(desk: Desk, hook: Receiver) -> Channel:
    return desk.channel("webhook", hook.url)


def named(desk: Desk, channel: Channel) -> dict[str, Any]:
    return {"org": desk.org, "channel_id": channel.pk, "actor": None}


def test_a_new_name_does_not_bring_the_old_secret_back(desk: Desk, channel: Channel, hook: Receiver) -> None:
    shown: list[str] = []
    errors = while_held(
        channel,
        lambda: shown.append(secret_of(rotate_secret(**named(desk, channel)))),
        lambda: change_channel(**named(desk, channel), fields={"name": "Another"}),
    )
    assert errors == []
    found = desk.reread(channel)
    assert (found.name, secret_of(found)) == ("Another", shown[0])
    desk.cross()
    desk.work()
    Webhook(shown[0]).verify(hook.requests[0].body, hook.requests[0].headers)


def test_a_channel_that_was_deleted_stays_deleted_whoever_changes_it_meanwhile(desk: Desk, channel: Channel) -> None:
    errors = while_held(
        channel,
        lambda: delete_channel(**named(desk, channel)),
        lambda: change_channel(**named(desk, channel), fields={"name": "Another"}),
    )
    assert [type(error) for error in errors] == [NotFound]
    found = desk.reread(channel)
    assert found.deleted_at is not None
    assert (found.target, found.secret, found.state) == ("", "", "disabled")


def test_a_channel_that_was_disabled_stays_disabled(desk: Desk, channel: Channel) -> None:
    errors = while_held(
        channel,
        lambda: set_active(**named(desk, channel), active=False),
        lambda: change_channel(**named(desk, channel), fields={"name": "Another"}),
    )
    assert errors == []
    assert desk.reread(channel).state == "disabled"


def test_a_message_under_way_to_a_deleted_channel_ends_there(desk: Desk, channel: Channel, hook: Receiver) -> None:
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        claimed = services.claim(desk.org.pk, at=desk.now)
        assert claimed is not None
    delete_channel(**named(desk, channel))
    hook.will_answer(500)
    with as_worker():
        services.send(claimed, desk.clock)
    found = desk.delivery()
    assert (found.state, found.next_attempt_at, found.error) == ("failed", None, "500 Internal Server Error")
    assert desk.later(days=1) == 0


def test_a_410_of_where_a_channel_no_longer_goes_does_not_disable_it(
    desk: Desk, channel: Channel, hook: Receiver
) -> None:
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        claimed = services.claim(desk.org.pk, at=desk.now)
        assert claimed is not None
    change_channel(**named(desk, channel), fields={"target": f"{hook.url}/new"})
    hook.will_answer(410)
    with as_worker():
        services.send(claimed, desk.clock)
    assert desk.reread(channel).state == "active"
