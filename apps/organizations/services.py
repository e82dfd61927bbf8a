from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.text import slugify

from apps.accounts.models import User
from apps.accounts.services import get_or_create_user
from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.periods import next_month
from apps.core.tenancy import tenant
from apps.core.text import is_name
from apps.organizations import keys, sql
from apps.organizations.models import ApiKey, ApiKeyHash, Membership, Organization, Zone
from apps.organizations.permissions import Scope
from apps.organizations.selectors import PINS, Principal

LAST_USED_PRECISION = timedelta(minutes=1)
# Organizations that one person may own at a time, and those of one name.
OWNED_MAX = 20
NAMESAKES_MAX = 50
# Keys of an organization that work at a time.
KEYS_MAX = 1_000


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key; `secret` is shown here once and never again."""

    key: ApiKey
    secret: str


def create_organization(
    *,
    name: str,
    owner_email: str,
    actor: object = None,
    password: str | None = None,
    zone: str = "UTC",
    suffix: str = "",
) -> Organization:
    """An organization with its owner and its zone. The slug is the name in lower case, spaces as hyphens, and `suffix`.

    Raises `DomainError` with code `name_invalid`, `email_invalid`, `slug_taken` or `zone_unknown`.
    """
    slug = slugify(name) + suffix
    if not slug or len(slug) > 60 or not is_name(name, 100):
        raise DomainError(
            "name_invalid", f"'{name}' gives no usable slug: use 1 to 60 letters or digits.", param="name"
        )
    check_email(owner_email, param="owner")
    _check_zone(zone)
    org_id = sql.next_organization_id()
    with tenant(org_id):
        try:
            with transaction.atomic():
                org = Organization.objects.create(pk=org_id, slug=slug, name=name)
        except IntegrityError:
            raise DomainError("slug_taken", f"The slug '{slug}' is taken: choose another name.", param="name") from None
        owner = get_or_create_user(email=owner_email, password=password)
        Membership.objects.create(organization=org, user=owner, role=Membership.Role.OWNER)
        Zone(organization=org, effective_month=None, name=zone).save()
        audit.record(org=org, actor=actor, action="organizations.created", subject=slug, data={"zone": zone})
    return org


def found_organization(*, user: User, name: str, zone: str) -> Organization:
    """A person's own organization. Two companies may have one name: the slug of the later one ends in a number.

    Raises `DomainError` with code `too_many_organizations`, or like `create_organization`.
    """
    if Membership.objects.filter(user=user, role=Membership.Role.OWNER).count() >= OWNED_MAX:
        raise DomainError("too_many_organizations", f"You own {OWNED_MAX} organizations, as many as one person may.")
    for number in range(1, NAMESAKES_MAX):
        suffix = f"-{number}" if number > 1 else ""
        try:
            return create_organization(name=name, owner_email=user.email, actor=user, zone=zone, suffix=suffix)
        except DomainError as wrong:
            if wrong.code != "slug_taken":
                raise
    return create_organization(name=name, owner_email=user.email, actor=user, zone=zone, suffix=f"-{NAMESAKES_MAX}")


def issue_key(
    *,
    org: Organization,
    name: str,
    scopes: Sequence[str],
    actor: object = None,
    team: str | None = None,
    project: str | None = None,
    environment: str | None = None,
    expires_at: datetime | None = None,
) -> IssuedKey:
    """A new API key. A pinned team, project or environment is what every event of the key belongs to.

    Raises `DomainError` with code `name_invalid`, `pin_invalid`, `scope_unknown`, `scopes_missing`, `expiry_past` or
    `too_many_keys`.
    """
    if not is_name(name, 100):
        raise DomainError("name_invalid", "A key's name has 1 to 100 printable characters.", param="name")
    for pinned, value in (("team", team), ("project", project), ("environment", environment)):
        if value is not None and not is_name(value, 256):
            raise DomainError("pin_invalid", f"A pinned {pinned} has 1 to 256 printable characters.", param=pinned)
    _check_scopes(scopes)
    now = timezone.now()
    _check_expiry(expires_at, now)
    secret = keys.new_secret()
    with tenant(org):
        _require_room(org, now)
        key = ApiKey(
            organization=org,
            name=name,
            hint=keys.hint_of(secret),
            scopes=sorted(set(scopes)),
            team=team,
            project=project,
            environment=environment,
            expires_at=expires_at,
            created_by=str(actor) if actor is not None else "command",
        )
        key.save()
        ApiKeyHash.objects.create(hash=keys.hash_of(secret), organization=org, api_key_id=key.pk)
        audit.record(
            org=org,
            actor=actor,
            action="keys.issued",
            subject=key.hint,
            data={"name": name, "scopes": key.scopes, **{pin: getattr(key, pin) for pin in PINS}},
        )
    return IssuedKey(key=key, secret=secret)


def revoke_key(*, org: Organization, key_id: int, actor: object) -> ApiKey:
    """From the next request on the key is refused. Revoking twice changes nothing."""
    with tenant(org):
        key = ApiKey.objects.for_org(org).select_for_update().filter(pk=key_id).first()
        if key is None:
            raise NotFound("API key")
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            audit.record(org=org, actor=actor, action="keys.revoked", subject=key.hint)
    return key


def rotate_key(
    *, org: Organization, key_id: int, overlap: timedelta, actor: object, expires_no_later: datetime | None = None
) -> tuple[IssuedKey, ApiKey]:
    """A new key that may what the old one may, for as long as that was made for; the old one works on for `overlap`,
    at most for its own time.

    Raises `NotFound`, or `DomainError` with code `key_ended` or `too_many_keys`.
    """
    now = timezone.now()
    with tenant(org):
        old = ApiKey.objects.for_org(org).select_for_update().filter(pk=key_id).first()
        if old is None:
            raise NotFound("API key")
        if old.revoked_at is not None or (old.expires_at is not None and old.expires_at <= now):
            raise DomainError("key_ended", f"{old.hint} works no more: issue a new key instead.")
        lasting = now + (old.expires_at - old.created_at) if old.expires_at else None
        issued = issue_key(
            org=org,
            name=old.name,
            scopes=old.scopes,
            actor=actor,
            team=old.team,
            project=old.project,
            environment=old.environment,
            expires_at=min(filter(None, (lasting, expires_no_later)), default=None),
        )
        if overlap > timedelta(0):
            old.expires_at = min(now + overlap, old.expires_at or now + overlap)
        else:
            old.revoked_at = now
        old.save(update_fields=["expires_at", "revoked_at"])
        audit.record(
            org=org,
            actor=actor,
            action="keys.rotated",
            subject=old.hint,
            data={"by": issued.key.hint, "works_until": (old.revoked_at or old.expires_at or now).isoformat()},
        )
    return issued, old


def note_use(principal: Principal, *, at: datetime) -> None:
    """Remember when the key was last used, to the minute."""
    last = principal.last_used_at
    if last is not None and at - last < LAST_USED_PRECISION:
        return
    org = principal.organization
    with tenant(org):
        ApiKey.objects.for_org(org).filter(
            Q(last_used_at__isnull=True) | Q(last_used_at__lte=at - LAST_USED_PRECISION), pk=principal.key_id
        ).update(last_used_at=at)


def change_zone(*, org: Organization, zone: str, effective_month: date, actor: object) -> None:
    """From the start of a coming month the organization's days and months are cut in another zone.

    Raises `DomainError` with code `zone_unknown` or `month_not_ahead`: the past is never cut again.
    """
    _check_zone(zone)
    this_month = timezone.now().astimezone(ZoneInfo("Pacific/Kiritimati")).date().replace(day=1)
    if effective_month.day != 1 or effective_month < next_month(this_month):
        raise DomainError(
            "month_not_ahead",
            f"A zone takes effect on the first of a coming month, {next_month(this_month)} or later,"
            f" not on {effective_month}.",
            param="effective_month",
        )
    with tenant(org):
        Zone.objects.for_org(org).filter(effective_month__gte=effective_month).delete()
        Zone(organization=org, effective_month=effective_month, name=zone).save()
        touch_facts(org)
        audit.record(
            org=org,
            actor=actor,
            action="organizations.zone_changed",
            subject=org.slug,
            data={"zone": zone, "effective_month": effective_month.isoformat()},
        )


def change_settings(
    *,
    org: Organization,
    actor: object,
    create_names_on_first_sight: bool | None = None,
    retention_months: int | None = None,
    unpriced_policy: str | None = None,
    requires_second_factor: bool | None = None,
) -> Organization:
    """Change what is given. A shorter retention deletes older events at the next nightly run.

    Raises `DomainError` with code `retention_invalid` or `unpriced_policy_unknown`.
    """
    changes: dict[str, object] = {}
    if unpriced_policy is not None:
        if unpriced_policy not in Organization.UnpricedPolicy.values:
            raise DomainError(
                "unpriced_policy_unknown",
                f"unpriced_policy is '{unpriced_policy}': use {', '.join(Organization.UnpricedPolicy.values)}.",
                param="unpriced_policy",
            )
        changes["unpriced_policy"] = unpriced_policy
    if requires_second_factor is not None:
        changes["requires_second_factor"] = requires_second_factor
    if create_names_on_first_sight is not None:
        changes["create_names_on_first_sight"] = create_names_on_first_sight
    if retention_months is not None:
        if not 1 <= retention_months <= settings.RETENTION_MONTHS:
            raise DomainError(
                "retention_invalid",
                f"retention_months is {retention_months}: this installation keeps 1 to {settings.RETENTION_MONTHS}.",
                param="retention_months",
            )
        changes["retention_months"] = retention_months
    with tenant(org):
        touch_facts(org)
        Organization.objects.filter(pk=org.pk).update(**changes)
        audit.record(org=org, actor=actor, action="organizations.settings_changed", subject=org.slug, data=changes)
    org.refresh_from_db()
    return org


def touch_facts(org: Organization) -> None:
    """Tell every process that names, owners, zones or settings changed, in the same transaction as the change."""
    Organization.objects.filter(pk=org.pk).update(facts_version=F("facts_version") + 1)


def note_budgeted(org: Organization) -> None:
    """From now on workers look for expired holds and counters of the organization."""
    Organization.objects.filter(pk=org.pk).update(is_budgeted=True)
    org.is_budgeted = True


def note_names_posted(org: Organization) -> None:
    """Events that came with unknown names are attributed by the names at `org.facts_version`."""
    Organization.objects.filter(pk=org.pk, names_posted_version__lt=org.facts_version).update(
        names_posted_version=org.facts_version
    )


def add_member(*, org: Organization, user: User, role: str, actor: object, teams: Sequence[str] = ()) -> Membership:
    """Give a person a role; a second call changes it. For commands: people are invited (`members.invite`)."""
    with tenant(org):
        membership, _ = Membership.objects.update_or_create(
            organization=org, user=user, defaults={"role": role, "teams": list(teams)}
        )
        audit.record(org=org, actor=actor, action="members.added", subject=user.email, data={"role": membership.role})
    return membership


def check_email(email: str, *, param: str = "email") -> None:
    """Raises `DomainError` with code `email_invalid`."""
    try:
        validate_email(email.strip())
    except ValidationError:
        raise DomainError(
            "email_invalid", f"'{email}' is no email address: write one like alice@example.com.", param=param
        ) from None


def _check_expiry(expires_at: datetime | None, now: datetime) -> None:
    if expires_at is not None and expires_at <= now:
        raise DomainError(
            "expiry_past",
            f"expires_at is {expires_at.isoformat()}, which is over: name a time ahead.",
            param="expires_at",
        )


def _require_room(org: Organization, now: datetime) -> None:
    """For one more key that works."""
    working = ApiKey.objects.for_org(org).filter(Q(expires_at=None) | Q(expires_at__gt=now), revoked_at=None)
    if working.count() >= KEYS_MAX:
        raise DomainError("too_many_keys", f"{KEYS_MAX} keys work already: revoke those that nobody uses.")


def _check_scopes(scopes: Sequence[str]) -> None:
    known = [scope.value for scope in Scope]
    unknown = sorted(set(scopes) - set(known))
    if unknown:
        raise DomainError(
            "scope_unknown", f"No such scope: {', '.join(unknown)}. Use {', '.join(known)}.", param="scopes"
        )
    if not scopes:
        raise DomainError("scopes_missing", f"A key needs at least one scope of {', '.join(known)}.", param="scopes")


def _check_zone(zone: str) -> None:
    if zone not in available_timezones():
        raise DomainError(
            "zone_unknown", f"'{zone}' is not an IANA time zone: write one like Europe/Berlin.", param="zone"
        )
