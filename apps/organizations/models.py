from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models

from apps.core.periods import Calendar
from apps.core.tenancy import TenantModel


class Organization(models.Model):
    """A tenant. A directory table: it is read before any tenant is known, so it has no row-level security."""

    class State(models.TextChoices):
        ACTIVE = "active"
        SUSPENDED = "suspended"
        # Its owner deleted it: it can be restored until `closes_at`.
        CLOSING = "closing"
        # Nobody belongs to it any more; the slug stays taken, so that no old link leads to somebody else.
        CLOSED = "closed"

    class UnpricedPolicy(models.TextChoices):
        REFUSE = "refuse"
        CEILING = "ceiling"
        ALLOW = "allow"

    slug = models.SlugField(max_length=60, unique=True)
    name = models.CharField(max_length=100)
    state = models.CharField(max_length=10, choices=State, default=State.ACTIVE)
    closes_at = models.DateTimeField(null=True)
    # Members without a second factor see none of its pages.
    requires_second_factor = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)
    # Teams, projects and workflows named in events are created where they are not known.
    create_names_on_first_sight = models.BooleanField(default=False)
    # Months of events to keep; null keeps what the installation keeps.
    retention_months = models.PositiveSmallIntegerField(null=True, blank=True)
    # Moves with every change of a fact that the ingestion road caches (names, owners, zones, settings).
    facts_version = models.BigIntegerField(default=1)
    # The facts by which events with unknown names were last attributed.
    names_posted_version = models.BigIntegerField(default=1)
    # A re-rating is under way: workers look for work here.
    is_rerating = models.BooleanField(default=False)
    # It has, or had, budgets or reservations: workers look for work here.
    is_budgeted = models.BooleanField(default=False)
    # What becomes of a call under a cap whose model has no price.
    unpriced_policy = models.CharField(max_length=10, choices=UnpricedPolicy, default=UnpricedPolicy.REFUSE)

    # Set by who answers a page, for as long as that takes: each of its parts asks for it.
    clock: Calendar | None = None

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(retention_months__isnull=True)
                | models.Q(retention_months__gte=1, retention_months__lte=120),
                name="organization_keeps_1_to_120_months",
            ),
            models.CheckConstraint(
                condition=models.Q(state="closing", closes_at__isnull=False)
                | (~models.Q(state="closing") & models.Q(closes_at__isnull=True)),
                name="organization_closes_at_a_time",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class Zone(TenantModel):
    """The organization's time zone from the start of a month; the row without a month is the first."""

    effective_month = models.DateField(null=True)
    name = models.CharField(max_length=64)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["organization", "effective_month"],
                name="organizations_zone_one_a_month",
                nulls_distinct=False,
            ),
            models.CheckConstraint(
                condition=models.Q(effective_month__isnull=True) | models.Q(effective_month__day=1),
                name="organizations_zone_from_first_of_month",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} from {self.effective_month or 'the start'}"


class Membership(models.Model):
    """Who belongs where. A directory table: sign-in reads it to find a person's organizations."""

    class Role(models.TextChoices):
        OWNER = "owner"
        ADMIN = "admin"
        FINANCE = "finance"
        ENGINEER = "engineer"
        LEAD = "lead"
        VIEWER = "viewer"

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role)
    # The teams of a lead, by slug: what a lead sees is theirs alone. Of no other role.
    teams = ArrayField(models.CharField(max_length=256), default=list)
    joined_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "user"], name="membership_once"),
            models.CheckConstraint(
                condition=models.Q(role="lead", teams__len__gt=0) | (~models.Q(role="lead") & models.Q(teams=[])),
                name="membership_leads_teams",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id}"


class Domain(TenantModel):
    """A domain of mail addresses that an organization says is its own; proved where `verified_at` is set."""

    name = models.CharField(max_length=253)
    # What the TXT record of the domain has to hold.
    token = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)
    verified_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "name"], name="organizations_domain_once"),
            models.UniqueConstraint(fields=["organization", "id"], name="organizations_domain_org_id"),
        ]

    def __str__(self) -> str:
        return self.name


class DomainOwner(models.Model):
    """Whose a proved domain is: one organization's. A directory table: sign-in asks it where an address belongs."""

    domain = models.CharField(primary_key=True, max_length=253)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")

    def __str__(self) -> str:
        return self.domain


class SsoConnection(models.Model):
    """The identity provider of an organization. A directory table: its answer arrives before any tenant is known."""

    class Kind(models.TextChoices):
        OIDC = "oidc"
        SAML = "saml"

    organization = models.OneToOneField(Organization, on_delete=models.CASCADE, related_name="sso")
    app = models.OneToOneField("socialaccount.SocialApp", on_delete=models.CASCADE, related_name="+")
    kind = models.CharField(max_length=4, choices=Kind)
    # What allauth calls the provider in accounts and in sessions.
    provider_id = models.CharField(max_length=200, unique=True)
    default_role = models.CharField(max_length=10, choices=Membership.Role, default=Membership.Role.VIEWER)
    is_enforced = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(default_role__in=["owner", "lead"]), name="sso_gives_no_owner_and_no_lead"
            )
        ]

    def __str__(self) -> str:
        return self.provider_id


class ApiKey(TenantModel):
    """What a key may do. The secret itself is not stored; `hint` is what a person recognizes it by."""

    name = models.CharField(max_length=100)
    hint = models.CharField(max_length=24)
    scopes = ArrayField(models.CharField(max_length=20))
    team = models.CharField(max_length=256, null=True)
    project = models.CharField(max_length=256, null=True)
    environment = models.CharField(max_length=256, null=True)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=320)
    expires_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)
    last_used_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["organization", "id"], name="organizations_apikey_org_id")]

    def __str__(self) -> str:
        return self.hint


class ApiKeyHash(models.Model):
    """SHA-256 of a key's secret, to find its organization. A directory table: read before a tenant is known."""

    hash = models.BinaryField(primary_key=True, max_length=32)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    api_key_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"key {self.api_key_id}"


class Invitation(TenantModel):
    """A person is asked to join. Good once, until it expires, for whoever proves to read mail at `email`."""

    email = models.EmailField()
    role = models.CharField(max_length=10, choices=Membership.Role)
    teams = ArrayField(models.CharField(max_length=256), default=list)
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.CharField(max_length=320)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="organizations_invitation_org_id"),
            models.UniqueConstraint(
                fields=["organization", "email"],
                condition=models.Q(accepted_at__isnull=True, revoked_at__isnull=True),
                name="organizations_invitation_one_open",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} as {self.role}"


class InvitationHash(models.Model):
    """SHA-256 of an invitation's token, to find its organization. A directory table: read before a tenant is known."""

    hash = models.BinaryField(primary_key=True, max_length=32)
    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="+")
    invitation_id = models.BigIntegerField()

    def __str__(self) -> str:
        return f"invitation {self.invitation_id}"
