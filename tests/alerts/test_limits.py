"""Nobody is flooded, and nobody's slow receiver holds up anybody else's messages."""

from datetime import timedelta
from typing import Any

from apps.alerts import services
from apps.alerts.timing import TRIES_MAX
from tests.alerts.desk import Desk
from tests.alerts.receivers import Post, Receiver
from tests.api.tenants import make_api
from tests.database import as_worker


def test_a_flood_of_crossings_is_thirty_mails_and_one_more_an_hour(desk: Desk, mail: Post, hook: Receiver) -> None:
    desk.now = desk.now.replace(minute=1) + timedelta(hours=1)
    desk.channel("email", "stranger@example.com")
    desk.channel("webhook", hook.url)
    for _ in range(10):
        for _ in range(5):
            desk.cross(kind="stopped", severity="critical")
        desk.later(minutes=1)
    assert (len(mail.inbox), len(hook.requests)) == (30, 50)
    desk.later(hours=1)
    assert len(mail.inbox) == 31
    assert "20 alerts" in mail.inbox[-1]["Subject"]
    assert {one.state for one in desk.deliveries()} == {"sent"}
    desk.cross()
    desk.later(minutes=1)
    assert len(mail.inbox) == 32


def test_tests_of_an_organization_are_counted(mail: Post) -> None:
    desk = Desk()
    api = make_api(desk.org)
    channels = [desk.channel("email", f"stranger{number}@example.com") for number in range(4)]
    codes = []
    for _ in range(8):
        for channel in channels:
            answer = api.post(f"alerts/channels/{channel.pk}/test", {})
            codes.append((answer.status_code, answer.json().get("code")))
        desk.later(seconds=1)
    # A test is due by the real clock, which a busy machine may turn faster than the desk's.
    desk.later(minutes=1)
    assert codes == [(202, None)] * 30 + [(409, "too_many_tests")] * 2
    assert len(mail.inbox) == 30


def test_of_one_organization_only_so_many_messages_are_under_way(desk: Desk, hook: Receiver) -> None:
    """Eight workers come, and five go at once to somebody else's messages."""
    for _ in range(8):
        desk.channel("webhook", hook.url)
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        claimed = [services.claim(desk.org.pk, at=desk.now) for _ in range(8)]
    under_way = [one for one in claimed if one]
    assert len(under_way) == services.SENDING_MAX
    with as_worker():
        services.send(under_way[0], desk.clock)
        assert services.claim(desk.org.pk, at=desk.now) is not None
        # Those processes died.
        desk.now += timedelta(minutes=3)
        assert services.claim(desk.org.pk, at=desk.now) is not None


def test_a_message_that_trips_this_side_up_holds_up_no_other_and_ends(
    desk: Desk, mail: Post, hook: Receiver, settings: Any
) -> None:
    desk.channel("email", "cfo@example.com")
    desk.channel("webhook", hook.url)
    settings.DEFAULT_FROM_EMAIL = "two\nlines@example.com"
    desk.cross()
    desk.work()
    assert sorted(one.state for one in desk.deliveries()) == ["pending", "sent"]
    assert "BadHeaderError" in "".join(one.error for one in desk.deliveries())
    for _ in range(TRIES_MAX):
        desk.later(days=2)
    assert sorted((one.state, one.tries) for one in desk.deliveries()) == [("failed", TRIES_MAX), ("sent", 1)]
    assert len(hook.requests) == 1


def test_a_message_by_which_every_process_dies_is_given_up(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        begun = 0
        while services.claim(desk.org.pk, at=desk.now) is not None:
            begun += 1
            assert begun <= TRIES_MAX
            desk.now += timedelta(minutes=10)
    found = desk.delivery()
    assert (found.state, found.tries, begun) == ("failed", TRIES_MAX, TRIES_MAX)
    assert "no process has told" in found.error
