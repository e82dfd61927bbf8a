"""From crossings to deliveries, and from deliveries to messages.

A crossing becomes one delivery per channel, in the transaction that marks it dispatched. A try is committed before the
network is used and recorded after it: a process that dies in between leaves a delivery whose time runs out, and the
next try uses the same id and is flagged as a repeat.
"""

import secrets
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from django.conf import settings
from django.db.models import Count, F
from django.utils import timezone

from apps.alerts import senders
from apps.alerts.channels import disable, due_signatures
from apps.alerts.messages import Notice, Place, clean, message_of, payload_of, said
from apps.alerts.models import Channel, Delivery
from apps.alerts.selectors import delivery_by_id, list_channels, subscribers
from apps.alerts.senders import Outcome
from apps.alerts.timing import TRIES_MAX, digest_at, due_at, quiet_until, retry_at
from apps.alerts.transport import Outbound
from apps.audit import services as audit
from apps.budgets.crossings import claim_undispatched, crossings_by_id, mark_dispatched, undispatched
from apps.budgets.models import Crossing
from apps.core.encryption import Unreadable, decrypt
from apps.core.errors import DomainError
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.organizations.selectors import calendar

log = structlog.get_logger(__name__)

SLICE = 200
# More than a task may take (CELERY_TASK_TIME_LIMIT): a try that is older belongs to nobody any more.
LEASE = timedelta(minutes=6)
TOGETHER_MAX = 200
MESSAGES_MAX = 200
# One organization's turn, and how many of its messages may be under way at once, in all processes: where its receivers
# do not answer, the others have theirs all the same.
WORK_SECONDS = 20
SENDING_MAX = 3
# A try that is older was left behind by a process that died, and keeps nothing back.
SENDING_COUNTS = timedelta(minutes=2)
# Messages by mail or chat that one channel gets at once in an hour; more come together at its end.
AT_ONCE_PER_HOUR_MAX = 30
LOG_MAX = 20
SEVERITIES = {"info": 0, "warning": 1, "critical": 2}
# A delivery that ended is kept as long.
KEPT = timedelta(days=90)


# --- crossings to deliveries -------------------------------------------------------------------------


def dispatch(org_id: int, *, at: datetime | None = None) -> int:
    """Make the deliveries of crossings that have none yet; how many crossings were dispatched.

    Two that run at once take different crossings, and one that runs again finds nothing.
    """
    total, now = 0, at or timezone.now()
    while taken := _dispatch_slice(org_id, now):
        total += taken
    return total


def _dispatch_slice(org_id: int, at: datetime) -> int:
    with tenant(org_id):
        crossings = claim_undispatched(org_id, limit=SLICE)
        if not crossings:
            return 0
        place = _place(org_id, at)
        channels = [one for one in list_channels(org_id) if one.state == Channel.State.ACTIVE]
        lately = _sent_lately(org_id, at)
        made = [
            _delivery(crossing, channel, place, at, lately)
            for crossing in crossings
            for channel in channels
            if _is_for(crossing, channel)
        ]
        Delivery.objects.for_org(org_id).bulk_create(made, ignore_conflicts=True)
        mark_dispatched(org_id, [crossing.crossing_id for crossing in crossings], at=at)
    return len(crossings)


def _is_for(crossing: Crossing, channel: Channel) -> bool:
    """Whether the channel is told: severe enough, of its team where it has one, and not older than the channel."""
    severe = SEVERITIES.get(crossing.severity, SEVERITIES["critical"]) >= SEVERITIES[channel.min_severity]
    team = channel.team is None or channel.team.slug == crossing.team
    return severe and team and crossing.crossed_at >= channel.active_since


def _sent_lately(org_id: int, at: datetime) -> Counter[int]:
    """How many messages went to each channel at once in the last hour. Index: alerts_delivery_newest."""
    lately = Delivery.objects.for_org(org_id).filter(created_at__gt=at - timedelta(hours=1))
    sent = lately.exclude(state=Delivery.State.HELD).values_list("channel_id")
    return Counter(dict(sent.annotate(count=Count("message_id", distinct=True))))


def _delivery(crossing: Crossing, channel: Channel, place: Place, at: datetime, lately: Counter[int]) -> Delivery:
    due = due_at(
        at,
        place.zone,
        critical=crossing.severity == "critical",
        every=channel.digest,
        quiet=(channel.quiet_from, channel.quiet_until),
    )
    if due is None:
        lately[channel.pk] += 1
        if lately[channel.pk] > AT_ONCE_PER_HOUR_MAX and channel.kind != Channel.Kind.WEBHOOK:
            due = digest_at(at, place.zone, Channel.Digest.HOURLY)
    delivery_id = uuid4()
    return Delivery(
        organization_id=crossing.organization_id,
        delivery_id=delivery_id,
        message_id=delivery_id,
        channel_id=channel.pk,
        crossing_id=crossing.crossing_id,
        kind=crossing.kind,
        severity=crossing.severity,
        title=clean(said(_notice(crossing), place).title, 300),
        state=Delivery.State.HELD if due else Delivery.State.PENDING,
        created_at=at,
        next_attempt_at=due or at,
    )


def _place(org_id: int, at: datetime) -> Place:
    org = Organization.objects.get(pk=org_id)
    return Place(org.name, org.slug, calendar(org).zone_at(at), settings.BASE_URL)


def _notice(crossing: Crossing) -> Notice:
    return Notice(
        id=str(crossing.crossing_id),
        kind=crossing.kind,
        severity=crossing.severity,
        at=crossing.crossed_at,
        team=crossing.team,
        budget_id=crossing.budget_id,
        run_id=crossing.run_id,
        facts=crossing.facts if isinstance(crossing.facts, dict) else {},
    )


# --- deliveries to messages --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this process sends, and nobody else until its time runs out."""

    org_id: int
    message_id: UUID
    channel: Channel
    tries: int
    is_repeat: bool
    notices: Sequence[Notice]
    place: Place
    waiting_for: Sequence[str] | None = None


@dataclass(slots=True)
class Clock:
    """What the work takes from outside: the time, randomness and the way out."""

    now: Callable[[], datetime] = timezone.now
    jitter: Callable[[], int] = lambda: secrets.randbelow(201) - 100
    outbound: Outbound = field(default_factory=Outbound)


def has_work(org_id: int, *, at: datetime) -> bool:
    """Whether anything is to be dispatched or sent, in one statement. Index: alerts_delivery_due."""
    with tenant(org_id):
        due = Delivery.objects.for_org(org_id).filter(next_attempt_at__lte=at).values_list("organization_id")
        return due.union(undispatched(org_id).values_list("organization_id"), all=True).exists()


def work(org_id: int, *, clock: Clock | None = None) -> int:
    """Dispatch, and send what is due, for `WORK_SECONDS` at most; how many messages were tried.

    A channel that failed is left alone until the next time: one that never answers must not keep a worker.
    """
    clock = clock or Clock()
    dispatch(org_id, at=clock.now())
    began, tried, failing = time.monotonic(), 0, set[int]()
    while tried < MESSAGES_MAX and time.monotonic() - began < WORK_SECONDS:
        claimed = claim(org_id, at=clock.now(), but=failing)
        if claimed is None:
            break
        if not send(claimed, clock).sent:
            failing.add(claimed.channel.pk)
        tried += 1
    return tried


def organizations_with_work() -> list[int]:
    """In no order: where there is more work than workers, none is always the last."""
    at = timezone.now()
    found = [org_id for org_id in subscribers() if has_work(org_id, at=at)]
    secrets.SystemRandom().shuffle(found)
    return found


def claim(org_id: int, *, at: datetime, but: Collection[int] = ()) -> Claimed | None:
    """The message that has been due for longest, now being sent by the caller; None where nothing is due, or where
    enough of the organization is under way.

    `but` are channels that are passed over.
    """
    while True:
        with tenant(org_id):
            if _sending(org_id, at) >= SENDING_MAX:
                return None
            due = Delivery.objects.for_org(org_id).filter(next_attempt_at__lte=at).order_by("next_attempt_at")
            channel_id = due.exclude(channel_id__in=but).values_list("channel_id", flat=True).first()
            if channel_id is None:
                return None
            # Claims of one channel queue here, so that what was held for it goes out together.
            channel = Channel.objects.for_org(org_id).select_for_update().get(pk=channel_id)
            waiting = list(due.filter(channel_id=channel_id).select_for_update()[:TOGETHER_MAX])
            if not waiting:
                continue
            place = _place(org_id, at)
            message = _message(org_id, waiting)
            if channel.state != Channel.State.ACTIVE:
                _fail(org_id, message, f"the channel is disabled: {channel.disabled_reason}")
            elif message[0].tries >= TRIES_MAX:
                _fail(org_id, message, "of the last try no process has told how it ended")
            elif not _hold_back(org_id, channel, message, place, at):
                return _begin(org_id, channel, message, place, at)


def _sending(org_id: int, at: datetime) -> int:
    """How many messages of the organization are under way. Index: alerts_delivery_due."""
    begun = Delivery.objects.for_org(org_id).filter(
        state=Delivery.State.SENDING, next_attempt_at__gt=at + LEASE - SENDING_COUNTS
    )
    return begun.values("message_id").distinct().count()


def _message(org_id: int, waiting: Sequence[Delivery]) -> list[Delivery]:
    """The deliveries that go out as one: what was held and never tried, or what went out together before."""
    first = waiting[0]
    if first.state != Delivery.State.HELD or first.tries:
        return list(Delivery.objects.for_org(org_id).filter(message_id=first.message_id))
    together = [one for one in waiting if one.state == Delivery.State.HELD and not one.tries]
    ids = [one.delivery_id for one in together]
    Delivery.objects.for_org(org_id).filter(delivery_id__in=ids).update(message_id=first.message_id)
    return together


def _hold_back(org_id: int, channel: Channel, message: Sequence[Delivery], place: Place, at: datetime) -> bool:
    """Put off what came due in quiet hours, by a retry or by hours that were set since."""
    if any(one.severity == "critical" for one in message) or message[0].kind == "test":
        return False
    until = quiet_until(at, place.zone, channel.quiet_from, channel.quiet_until)
    if until is not None:
        _update(org_id, message[0].message_id, state=Delivery.State.HELD, next_attempt_at=until)
    return until is not None


def _begin(org_id: int, channel: Channel, message: Sequence[Delivery], place: Place, at: datetime) -> Claimed:
    first = message[0]
    is_repeat = first.is_repeat or first.may_have_arrived
    _update(
        org_id,
        first.message_id,
        state=Delivery.State.SENDING,
        tries=F("tries") + 1,
        next_attempt_at=at + LEASE,
        may_have_arrived=True,
        is_repeat=is_repeat,
    )
    notices = [_notice(one) for one in crossings_by_id(org_id, [one.crossing_id for one in message])]
    if first.kind == "test":
        notices = [Notice(str(first.crossing_id), "test", "info", first.created_at, facts={"channel": channel.name})]
    return Claimed(org_id, first.message_id, channel, first.tries + 1, is_repeat, notices, place, first.waiting_for)


def _fail(org_id: int, message: Sequence[Delivery], why: str) -> None:
    _update(org_id, message[0].message_id, state=Delivery.State.FAILED, next_attempt_at=None, error=why[:300])


def _update(org_id: int, message_id: UUID, **fields: Any) -> int:
    return Delivery.objects.for_org(org_id).filter(message_id=message_id).update(**fields)


def send(claimed: Claimed, clock: Clock) -> Outcome:
    """Send it, outside any transaction, and record what became of it."""
    at, began = clock.now(), time.monotonic()
    try:
        outcome = _send(claimed, clock, at) if claimed.notices else Outcome(sent=False, error="the crossing is gone")
    except Unreadable as error:
        outcome = Outcome(sent=False, error=str(error))
    except Exception as error:  # one message that cannot be sent must keep neither its own end nor the others
        log.exception("a message could not be sent", organization_id=claimed.org_id, message_id=claimed.message_id)
        outcome = Outcome(sent=False, error=f"{type(error).__name__} here, not there", may_have_arrived=True)
    milliseconds = round((time.monotonic() - began) * 1000)
    record(claimed, outcome, milliseconds, clock)
    return outcome


def _send(claimed: Claimed, clock: Clock, at: datetime) -> Outcome:
    channel, place, is_repeat = claimed.channel, claimed.place, claimed.is_repeat
    target = decrypt(channel.target)
    if channel.kind == Channel.Kind.WEBHOOK:
        body = payload_of(claimed.notices[0], place)
        return senders.send_webhook(
            target, due_signatures(channel, at), body, claimed.message_id,
            at=at, is_repeat=is_repeat, outbound=clock.outbound,
        )  # fmt: skip
    message = message_of(claimed.notices, place)
    if channel.kind == Channel.Kind.EMAIL:
        return senders.send_mail(
            target.split(","), message, claimed.message_id, is_repeat=is_repeat, only=claimed.waiting_for
        )
    return senders.send_chat(target, message, at=at, is_repeat=is_repeat, outbound=clock.outbound)


def record(claimed: Claimed, outcome: Outcome, milliseconds: int, clock: Clock) -> None:
    """Write down what became of a try; a result that comes after its time ran out changes nothing but success."""
    at = clock.now()
    entry = {
        "at": at.isoformat(),
        "status": outcome.status,
        "error": outcome.error,
        "milliseconds": milliseconds,
        "answer": outcome.answer,
        "accepted": outcome.accepted,
        "refused": [{**asdict(one), "is_permanent": one.is_permanent} for one in outcome.refused],
    }
    with tenant(claimed.org_id):
        channel = Channel.objects.for_org(claimed.org_id).select_for_update().get(pk=claimed.channel.pk)
        rows = Delivery.objects.for_org(claimed.org_id).filter(message_id=claimed.message_id)
        found = list(rows.select_for_update())
        if not found or found[0].state == Delivery.State.SENT:
            return
        fields: dict[str, Any] = {"log": [*found[0].log, entry][-LOG_MAX:], "error": outcome.error}
        if outcome.sent or _is_taken_by_others(outcome, fields["log"]):
            fields["error"] = _refused_for_good(fields["log"])
            fields |= {"state": Delivery.State.SENT, "next_attempt_at": None, "sent_at": at, "may_have_arrived": False}
        elif found[0].tries == claimed.tries and found[0].state == Delivery.State.SENDING:
            fields |= _after_failure(channel, claimed, outcome, at, clock)
        rows.update(**fields)
        # Not by the answer of a receiver that it no longer goes to.
        if outcome.gone and channel.state == Channel.State.ACTIVE and channel.target == claimed.channel.target:
            disable(claimed.org_id, channel, "its receiver answered 410 Gone")
            audit.record(
                org=claimed.org_id, actor="alerts", action="channels.disabled", subject=f"channel {channel.pk}",
                data={"reason": channel.disabled_reason},
            )  # fmt: skip


def _is_taken_by_others(outcome: Outcome, log: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a mail was taken for some address, now or before, and is refused for good for every other."""
    gone = bool(outcome.refused) and all(one.is_permanent for one in outcome.refused)
    return gone and any(entry.get("accepted") for entry in log)


def _refused_for_good(log: Sequence[Mapping[str, Any]]) -> str:
    refused = {one["address"]: one for entry in log for one in entry.get("refused", ()) if one["is_permanent"]}
    said = "; ".join(f"{one['address']}: {one['status']} {one['answer']}" for one in refused.values())
    return clean(f"refused for good: {said}", senders.REFUSALS_KEPT) if refused else ""


def _after_failure(channel: Channel, claimed: Claimed, outcome: Outcome, at: datetime, clock: Clock) -> dict[str, Any]:
    due = retry_at(claimed.tries, at, jitter=clock.jitter(), retry_after=outcome.retry_after)
    waiting_for = [one.address for one in outcome.refused if not one.is_permanent]
    if outcome.gone or channel.state != Channel.State.ACTIVE or (outcome.refused and not waiting_for):
        due = None
    return {
        "state": Delivery.State.PENDING if due else Delivery.State.FAILED,
        "next_attempt_at": due,
        "may_have_arrived": outcome.may_have_arrived,
        # Who has the mail does not get it again, whatever becomes of the next try.
        "waiting_for": waiting_for or claimed.waiting_for,
    }


def retry(*, org: Organization, delivery_id: UUID, actor: object) -> Delivery:
    """Try a delivery again now, with the same id and a schedule that begins anew.

    Raises `NotFound` and `DomainError` (`delivery_sent`, `delivery_under_way`, `channel_disabled`).
    """
    with tenant(org):
        found = delivery_by_id(org, delivery_id)
        if found.state == Delivery.State.SENT:
            raise DomainError("delivery_sent", "This delivery was sent: there is nothing to try again.")
        # In the order of the workers: the channel, then its deliveries.
        channel = Channel.objects.for_org(org).select_for_update().get(pk=found.channel_id)
        if channel.state != Channel.State.ACTIVE:
            raise DomainError("channel_disabled", f"'{channel.name}' is disabled or deleted: enable it first.")
        rows = Delivery.objects.for_org(org).filter(message_id=found.message_id)
        if any(one.state == Delivery.State.SENDING for one in rows.select_for_update()):
            raise DomainError("delivery_under_way", "This delivery is being sent now: look again in a few minutes.")
        rows.update(state=Delivery.State.PENDING, tries=0, next_attempt_at=timezone.now())
        audit.record(org=org, actor=actor, action="deliveries.retried", subject=f"delivery {delivery_id}")
        return delivery_by_id(org, delivery_id)


def forget_old(org_id: int, *, at: datetime) -> int:
    """Delete deliveries that ended and are older than `KEPT`; how many. A crossing of one is not told again.

    Secrets that sign no more are wiped.
    """
    with tenant(org_id):
        rotated = Channel.objects.for_org(org_id).filter(previous_until__lt=at)
        rotated.update(previous_secret="", previous_until=None)
        old = Delivery.objects.for_org(org_id).filter(created_at__lt=at - KEPT, next_attempt_at=None)
        return old.delete()[0]
