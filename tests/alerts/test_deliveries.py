"""Each crossing is told once to each channel, whatever dies, doubles, refuses or forgets on the way."""

import json
import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from standardwebhooks import Webhook, WebhookVerificationError

from apps.alerts import services, tasks
from apps.alerts.channels import change_channel, rotate_secret, secret_of
from apps.alerts.timing import RETRY_DELAYS, TRIES_MAX
from apps.budgets.crossings import undispatched
from apps.core.tenancy import tenant
from apps.teams.services import create_team
from tests.alerts.desk import Desk
from tests.alerts.hints import broker, hints
from tests.alerts.receivers import Post, Receiver
from tests.database import as_worker
from tests.usage.ledger import eventually


def in_threads(work: Any, count: int = 4) -> None:
    """All at once, each as a worker with a connection of its own."""
    barrier, errors = threading.Barrier(count), []

    def run() -> None:
        with as_worker():
            barrier.wait()
            try:
                work()
            except Exception as error:
                errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


# --- once --------------------------------------------------------------------------------------------


def test_a_crossing_makes_one_delivery_per_channel_and_each_arrives(desk: Desk, mail: Post, hook: Receiver) -> None:
    desk.channel("email", "cfo@example.com, lead@example.com")
    desk.channel("webhook", hook.url)
    desk.cross()
    assert desk.work() == 2
    assert desk.work() == 0
    assert [one.state for one in desk.deliveries()] == ["sent", "sent"]
    (letter,), (request,) = mail.inbox, hook.requests
    assert letter["To"] == "cfo@example.com, lead@example.com"
    assert "has reached 80 % of its limit" in letter["Subject"]
    body = json.loads(request.body)
    assert (body["type"], body["data"]["facts"]["spent_usd"]) == ("budget.threshold_crossed", "80.123456000000")
    assert len(request.body) < 20_000


def test_two_beats_and_doubled_tasks_tell_once(desk: Desk, mail: Post, hook: Receiver) -> None:
    desk.channel("email", "cfo@example.com")
    desk.channel("webhook", hook.url)
    crossings = [desk.cross() for _ in range(6)]
    in_threads(lambda: (services.work(desk.org.pk, clock=desk.clock), services.work(desk.org.pk, clock=desk.clock)))
    desk.work()
    assert len(desk.deliveries()) == 2 * len(crossings)
    assert {one.state for one in desk.deliveries()} == {"sent"}
    assert len(mail.inbox) == len({letter["Message-ID"] for letter in mail.inbox}) == len(crossings)
    assert len(hook.requests) == len({one.headers["webhook-id"] for one in hook.requests}) == len(crossings)


def test_a_queue_that_is_lost_loses_nothing(
    desk: Desk, mail: Post, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue's message is gone; the next tick finds the row, and asks for it once per organization."""
    desk.channel("email", "cfo@example.com")
    desk.cross()
    tasks.hint_tell(desk.org.pk)
    eventually(lambda: hints(desk.org))
    broker().delete(*settings.QUEUES.values())
    asked: list[int] = []
    monkeypatch.setattr(tasks.tell, "apply_async", lambda args, **_: asked.extend(args))
    with as_worker():
        tasks.tell_everybody()
        tasks.tell_everybody()
    assert asked.count(desk.org.pk) == 2
    with as_worker():
        for organization_id in asked:
            if organization_id == desk.org.pk:
                tasks.tell(organization_id)
    assert len(mail.inbox) == 1
    assert desk.delivery().state == "sent"
    with as_worker():
        assert desk.org.pk not in services.organizations_with_work()


def test_a_mail_server_that_refuses_for_ten_minutes_delays_and_loses_nothing(desk: Desk, mail: Post) -> None:
    desk.channel("email", "cfo@example.com")
    crossings = [desk.cross() for _ in range(3)]
    mail.refuses, began = "451 later", desk.now
    while desk.now < began + timedelta(minutes=10):
        desk.later(seconds=15)
        desk.work()
    assert mail.inbox == []
    assert {one.state for one in desk.deliveries()} == {"pending"}
    mail.refuses = ""
    desk.later(hours=1)
    assert len(mail.inbox) == len({letter["Message-ID"] for letter in mail.inbox}) == len(crossings)
    assert all(not one.is_repeat and one.state == "sent" and one.tries > 1 for one in desk.deliveries())
    assert all("X-FinOps-Repeat" not in letter for letter in mail.inbox)


def test_a_mail_server_that_is_not_there_delays_too(desk: Desk, mail: Post, settings: Any) -> None:
    desk.channel("email", "cfo@example.com")
    desk.cross()
    settings.EMAIL_PORT = 1
    desk.work()
    found = desk.delivery()
    assert (found.state, found.may_have_arrived) == ("pending", False)
    assert "refused" in found.error.lower()
    settings.EMAIL_PORT = mail.port
    desk.later(minutes=1)
    assert desk.delivery().state == "sent"


# --- when an acknowledgement is lost -----------------------------------------------------------------


def test_a_mail_whose_acknowledgement_was_lost_is_repeated_with_its_id_and_flagged(desk: Desk, mail: Post) -> None:
    desk.channel("email", "cfo@example.com")
    desk.cross()
    mail.drops = True
    desk.work()
    assert desk.delivery().may_have_arrived
    mail.drops = False
    desk.later(minutes=1)
    first, second = mail.inbox
    assert first["Message-ID"] == second["Message-ID"]
    assert (first["X-FinOps-Repeat"], second["X-FinOps-Repeat"]) == (None, "1")
    found = desk.delivery()
    assert (found.state, found.is_repeat, found.tries) == ("sent", True, 2)


def test_a_request_whose_answer_was_lost_is_repeated_with_its_id_and_flagged(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    hook.will_drop()
    desk.work()
    desk.later(minutes=1)
    first, second = hook.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert ("x-finops-repeat" in first.headers, second.headers["x-finops-repeat"]) == (False, "1")
    assert desk.delivery().is_repeat


def test_a_worker_that_died_between_sending_and_recording_leaves_a_repeat(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        claimed = services.claim(desk.org.pk, at=desk.now)
        assert claimed is not None
        services._send(claimed, desk.clock, desk.now)  # and the power goes out
        assert services.claim(desk.org.pk, at=desk.now) is None
    assert desk.delivery().state == "sending"
    assert desk.later(minutes=5) == 0
    assert desk.later(minutes=2) == 1
    first, second = hook.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert (desk.delivery().state, desk.delivery().is_repeat) == ("sent", True)


def test_a_result_that_comes_late_counts_as_success_and_does_not_undo_one(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    with as_worker():
        services.dispatch(desk.org.pk, at=desk.now)
        slow = services.claim(desk.org.pk, at=desk.now)
        assert slow is not None
    desk.later(minutes=7)
    assert desk.delivery().state == "sent"
    with as_worker():
        services.record(slow, services.Outcome(sent=False, error="too late"), 1, desk.clock)
    found = desk.delivery()
    assert (found.state, found.error, len(found.log)) == ("sent", "", 1)


# --- webhooks ----------------------------------------------------------------------------------------


def test_the_official_library_verifies_the_signature_also_while_secrets_rotate(desk: Desk, hook: Receiver) -> None:
    channel = desk.channel("webhook", hook.url)
    first = secret_of(channel)
    desk.cross()
    desk.work()
    second = secret_of(rotate_secret(org=desk.org, channel_id=channel.pk, actor=None))
    desk.cross()
    desk.later(seconds=1)
    desk.cross()
    desk.later(hours=25)
    before, during, after = hook.requests

    def verifies(secret: str, request: Any) -> bool:
        with time_machine.travel(int(request.headers["webhook-timestamp"]), tick=False):
            try:
                Webhook(secret).verify(request.body, request.headers)
            except WebhookVerificationError:
                return False
            return True

    assert [verifies(first, one) for one in (before, during, after)] == [True, True, False]
    assert [verifies(second, one) for one in (before, during, after)] == [False, True, True]
    assert not verifies(first, type(before)(before.path, before.headers, before.body + b" "))
    assert first.startswith("whsec_")
    assert first != second


def test_410_disables_the_channel_and_fails_what_waits(desk: Desk, hook: Receiver) -> None:
    channel = desk.channel("webhook", hook.url)
    desk.cross()
    desk.cross()
    hook.will_answer(410)
    desk.work()
    assert len(hook.requests) == 1
    found = desk.reread(channel)
    assert (found.state, found.disabled_reason) == ("disabled", "its receiver answered 410 Gone")
    assert {one.state for one in desk.deliveries()} == {"failed"}
    desk.cross()
    assert desk.later(days=1) == 0
    assert len(desk.deliveries()) == 2


@pytest.mark.parametrize(
    ("value", "waits"),
    [
        ("120", timedelta(seconds=120)),
        ("1", RETRY_DELAYS[0]),
        ("99999999", timedelta(hours=24)),
        ("soon", RETRY_DELAYS[0]),
        ("-5", RETRY_DELAYS[0]),
        ("Fri, 27 Nov 2026 00:10:00 GMT", timedelta(minutes=10)),
        ("Sat, 27 Nov 1999 00:10:00 GMT", RETRY_DELAYS[0]),
    ],
)
def test_retry_after_is_honoured_within_bounds(desk: Desk, hook: Receiver, value: str, waits: timedelta) -> None:
    with time_machine.travel(datetime(2026, 11, 27, tzinfo=UTC), tick=False):
        desk.channel("webhook", hook.url)
        desk.now = datetime(2026, 11, 27, tzinfo=UTC)
        desk.cross()
        hook.will_answer(503, Retry_After=value)
        desk.work()
    assert desk.delivery().next_attempt_at == desk.now + waits


def test_a_channel_that_failed_is_left_alone_until_the_next_time_and_holds_up_no_other(
    desk: Desk, hook: Receiver, mail: Post
) -> None:
    desk.channel("webhook", hook.url)
    desk.channel("email", "cfo@example.com")
    for _ in range(3):
        desk.cross()
    hook.answers = [(500, {}, b"")] * 2
    desk.work()
    assert (len(hook.requests), len(mail.inbox)) == (1, 3)
    desk.later(seconds=1)
    assert len(hook.requests) == 2
    desk.later(seconds=10)
    assert len({one.headers["webhook-id"] for one in hook.requests}) == 3
    assert {one.state for one in desk.deliveries()} == {"sent"}


@pytest.mark.parametrize("status", [301, 302, 307, 400, 404, 429, 500, 503])
def test_what_is_not_2xx_is_tried_again(desk: Desk, hook: Receiver, status: int) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    hook.will_answer(status, b"why <b>not</b>\x00", Location=hook.url)
    desk.work()
    found = desk.delivery()
    assert (found.state, found.tries, len(hook.requests)) == ("pending", 1, 1)
    assert str(status) in found.error
    assert (found.log[0]["status"], found.log[0]["answer"]) == (status, "why <b>not</b>")


@pytest.mark.parametrize("before", [b"", b"x" * 270, b"x" * 299])
def test_a_receiver_that_repeats_its_url_does_not_put_it_into_the_log(
    desk: Desk, hook: Receiver, before: bytes
) -> None:
    """As Express does: "Cannot POST /hooks/secret"; who sees the log need not be who may know the URL."""
    secret = "T0pS3cret-token000000000"
    desk.channel("webhook", f"{hook.url}/{secret}?key=an%20other")
    desk.channel("chat", f"mmost://127.0.0.1:{hook.port}/{secret}")
    said = before + f"Cannot POST /hook/{secret}?key=an%20other, an other; {secret}".encode()
    desk.cross()
    hook.answers = [(404, {}, said)] * 2
    desk.work()
    logged = repr([(one.log, one.error) for one in desk.deliveries()])
    assert len(hook.requests) == 2
    assert "T0p" not in logged
    assert "404 Not Found" in logged


def test_after_ten_tries_in_three_days_it_fails_and_a_person_may_try_again(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    hook.answers = [(500, {}, b"")] * TRIES_MAX
    began = desk.now
    desk.work()
    while (due := desk.delivery().next_attempt_at) is not None:
        desk.now = due
        desk.work()
    assert len(hook.requests) == TRIES_MAX == 10
    assert timedelta(hours=74) < desk.now - began < timedelta(hours=77)
    assert (desk.delivery().state, len(desk.delivery().log)) == ("failed", 10)
    services.retry(org=desk.org, delivery_id=desk.delivery().delivery_id, actor=None)
    desk.later(days=1)
    assert desk.delivery().state == "sent"
    assert len({one.headers["webhook-id"] for one in hook.requests}) == 1


# --- who is told -------------------------------------------------------------------------------------


def test_a_channel_is_told_of_its_team_from_its_severity_on(desk: Desk, hook: Receiver) -> None:
    create_team(org=desk.org, slug="search")
    everything = desk.channel("webhook", hook.url)
    search = desk.channel("webhook", hook.url, team="search", min_severity="warning")
    for severity, team in [("info", "search"), ("warning", "search"), ("critical", None), ("critical", "growth")]:
        desk.cross(severity=severity, team=team)
    desk.work()
    told = [one.channel_id for one in desk.deliveries()]
    assert (told.count(everything.pk), told.count(search.pk)) == (4, 1)


def test_a_channel_is_told_of_nothing_that_is_older(desk: Desk, hook: Receiver) -> None:
    desk.now -= timedelta(days=3)
    desk.cross()
    desk.channel("webhook", hook.url)
    desk.work()
    assert desk.deliveries() == []
    with tenant(desk.org):
        assert not undispatched(desk.org).exists()


def test_an_organization_without_channels_is_no_work(desk: Desk) -> None:
    desk.cross()
    with as_worker():
        assert desk.org.pk not in services.organizations_with_work()


# --- quiet hours and digests -------------------------------------------------------------------------


def test_in_quiet_hours_only_what_is_critical_comes_and_the_rest_together_afterwards(desk: Desk, mail: Post) -> None:
    channel = desk.channel("email", "cfo@example.com")
    start, end = (desk.now - timedelta(hours=1)).time(), (desk.now + timedelta(hours=2)).time()
    change_channel(
        org=desk.org, channel_id=channel.pk, actor=None,
        fields={"quiet_from": start.replace(microsecond=0), "quiet_until": end.replace(microsecond=0)},
    )  # fmt: skip
    desk.cross(severity="warning")
    desk.cross(severity="info")
    desk.cross(kind="refused", severity="critical")
    assert desk.work() == 1
    assert "refuses calls" in mail.inbox[0]["Subject"]
    assert sorted(one.state for one in desk.deliveries()) == ["held", "held", "sent"]
    assert desk.later(hours=1) == 0
    assert desk.later(hours=2) == 1
    assert mail.inbox[1]["Subject"].startswith("[warning] 2 alerts")
    assert {one.state for one in desk.deliveries()} == {"sent"}
    assert len({one.message_id for one in desk.deliveries()}) == 2


def test_a_retry_that_falls_into_quiet_hours_waits_too_and_keeps_its_id(desk: Desk, mail: Post) -> None:
    channel = desk.channel("email", "cfo@example.com")
    desk.cross()
    mail.refuses = "451 later"
    desk.work()
    before = desk.delivery().message_id
    start, end = (desk.now - timedelta(hours=1)).time(), (desk.now + timedelta(hours=2)).time()
    change_channel(org=desk.org, channel_id=channel.pk, actor=None, fields={"quiet_from": start, "quiet_until": end})
    mail.refuses = ""
    assert desk.later(minutes=1) == 0
    assert desk.delivery().state == "held"
    assert desk.later(hours=3) == 1
    assert (desk.delivery().state, desk.delivery().message_id) == ("sent", before)


@pytest.mark.parametrize(("digest", "waits"), [("hourly", timedelta(hours=1)), ("daily", timedelta(days=1))])
def test_a_digest_is_one_mail_of_all_and_one_id_over_its_tries(
    desk: Desk, mail: Post, digest: str, waits: timedelta
) -> None:
    desk.channel("email", "cfo@example.com", digest=digest)
    for number in range(3):
        desk.cross(budget=f"Number {number}")
    assert desk.work() == 0
    mail.refuses = "451 later"
    desk.now += waits
    in_threads(lambda: services.work(desk.org.pk, clock=desk.clock))
    mail.refuses = ""
    desk.later(minutes=1)
    (letter,) = mail.inbox
    text = letter.get_body(("plain",)).get_content()
    assert all(f"Number {number}" in text for number in range(3))
    assert {(one.state, one.tries) for one in desk.deliveries()} == {("sent", 2)}
    assert len({one.message_id for one in desk.deliveries()}) == 1


# --- chat --------------------------------------------------------------------------------------------


def test_a_chat_room_is_told_through_the_checked_way_only(desk: Desk, hook: Receiver, settings: Any) -> None:
    channel = desk.channel("chat", f"mmost://127.0.0.1:{hook.port}/3ccdd113474722377935511fc85d3dd4")
    hook.will_answer(200)
    desk.cross(budget="<!channel> @here http://evil.example [x](y)")
    desk.work()
    (request,) = hook.requests
    said = json.loads(request.body)["text"]
    assert "80.12 USD of 100.00 USD is spent" in said
    assert not any(mark in said for mark in ("<!channel>", "@here", "http://evil", "evil.example", "](y)"))
    assert desk.delivery().state == "sent"
    settings.ALERTS_ALLOWED_NETWORKS = ()
    desk.cross()
    desk.later(seconds=1)
    assert len(hook.requests) == 1
    assert "may not be reached" in desk.deliveries()[-1].error
    assert "3ccdd113" not in repr(desk.deliveries()[-1].log) + channel.hint


def test_a_chat_room_that_fails_is_asked_again_when_it_says(desk: Desk, hook: Receiver) -> None:
    desk.channel("chat", f"mmost://127.0.0.1:{hook.port}/3ccdd113474722377935511fc85d3dd4")
    desk.cross()
    hook.will_answer(429, b"slow down", Retry_After="600")
    desk.work()
    found = desk.delivery()
    assert (found.state, found.next_attempt_at, found.log[0]["answer"]) == (
        "pending",
        desk.now + timedelta(minutes=10),
        "slow down",
    )
    hook.will_drop()
    desk.later(minutes=10)
    desk.later(minutes=10)
    assert desk.delivery().is_repeat
    assert "(repeat)" in json.loads(hook.requests[-1].body)["text"]


def test_what_ended_is_forgotten_after_ninety_days_and_is_not_told_again(desk: Desk, hook: Receiver) -> None:
    desk.channel("webhook", hook.url)
    desk.cross()
    desk.work()
    with as_worker():
        assert services.forget_old(desk.org.pk, at=desk.now + timedelta(days=89)) == 0
        assert services.forget_old(desk.org.pk, at=desk.now + timedelta(days=91)) == 1
    assert desk.later(days=91) == 0
    assert desk.deliveries() == []
