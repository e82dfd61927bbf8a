"""Plans: what a workflow will cost, version by version, who approved it, and what became of it."""

from django.conf import settings
from django.db import models
from django.db.models import F, Q

from apps.core.tenancy import TenantModel
from apps.teams.models import NAME_LENGTH_MAX as SLUG_LENGTH_MAX

NAME_LENGTH_MAX = 100
NOTE_LENGTH_MAX = 500
CONDITIONS_LENGTH_MAX = 2_000


class Plan(TenantModel):
    """The cost model of one workflow, before it exists and while it runs.

    `workflow_slug` is what events will say; `workflow` is set as soon as the organization knows that name. `latest` is
    the newest version, `approved` the one that was approved last: what the plan is held to. A newer version waits for
    approval of its own. `calibration` is what real runs last said of it (`apps.planner.calibration`).
    """

    class State(models.TextChoices):
        DRAFT = "draft"
        APPROVED = "approved"
        LIVE = "live"
        RETIRED = "retired"

    name = models.CharField(max_length=NAME_LENGTH_MAX)
    workflow_slug = models.CharField(max_length=SLUG_LENGTH_MAX)
    workflow = models.ForeignKey(
        "teams.Workflow", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    team = models.ForeignKey(
        "teams.Team", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    project = models.ForeignKey(
        "teams.Project", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    # A person who answers for it; who is no member any more owns nothing.
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.DO_NOTHING,
        related_name="+",
        null=True,
        db_index=False,
        db_constraint=False,
    )
    # In the organization's zone: the day that runs begin to come.
    launch_on = models.DateField(null=True)
    state = models.CharField(max_length=8, choices=State, default=State.DRAFT)
    latest = models.PositiveIntegerField(default=1)
    approved = models.PositiveIntegerField(null=True)
    conditions = models.CharField(max_length=CONDITIONS_LENGTH_MAX, blank=True)
    approved_at = models.DateTimeField(null=True)
    approved_by = models.CharField(max_length=320, blank=True)
    launched_at = models.DateTimeField(null=True)
    retired_at = models.DateTimeField(null=True)
    calibration = models.JSONField(null=True)
    calibrated_at = models.DateTimeField(null=True)
    # What was made of it with one click; a budget that ended since is made anew.
    budget = models.ForeignKey(
        "budgets.Budget", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    cap = models.ForeignKey(
        "budgets.Budget", on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False, null=True
    )
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=320)

    class Meta:
        indexes = [
            # The plans of a workflow: actuals against it, and whether it runs under an approved one.
            models.Index(fields=["organization", "workflow"], name="planner_plan_of_workflow"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["organization", "id"], name="planner_plan_org_id"),
            models.UniqueConstraint(
                fields=["organization", "name"], condition=~Q(state="retired"), name="planner_plan_name_once"
            ),
            models.UniqueConstraint(
                fields=["organization", "workflow_slug"],
                condition=Q(state="live"),
                name="planner_plan_one_live_a_workflow",
            ),
            models.CheckConstraint(
                condition=Q(approved__isnull=True) | Q(approved__gte=1, approved__lte=F("latest")),
                name="planner_plan_approved_a_version_it_has",
            ),
            models.CheckConstraint(
                condition=Q(state="draft", approved__isnull=True, launched_at__isnull=True, retired_at__isnull=True)
                | Q(state="approved", approved__isnull=False, launched_at__isnull=True, retired_at__isnull=True)
                | Q(state="live", approved__isnull=False, launched_at__isnull=False, retired_at__isnull=True)
                | Q(state="retired", retired_at__isnull=False),
                name="planner_plan_state_has_its_times",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class PlanVersion(TenantModel):
    """One definition of a plan, what it was priced by and what it came to. Append-only.

    `definition` is `apps.planner.definition`'s JSON. `cards` lists the prices that its models had at `prices_at`, with
    the ids of catalog rows and contracts, and those that somebody supposed instead. `result` is null where a model had
    no price: unpriced is not zero. With `seed`, the same definition and cards make the same result.
    """

    class Origin(models.TextChoices):
        TEMPLATE = "template"
        FORM = "form"
        FIT = "fit"
        CALIBRATION = "calibration"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    number = models.PositiveIntegerField()
    definition = models.JSONField()
    prices_at = models.DateTimeField()
    cards = models.JSONField()
    seed = models.BigIntegerField()
    result = models.JSONField(null=True)
    origin = models.CharField(max_length=12, choices=Origin)
    note = models.CharField(max_length=NOTE_LENGTH_MAX, blank=True)
    created_at = models.DateTimeField()
    created_by = models.CharField(max_length=320)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organization", "plan", "number"], name="planner_planversion_number_once"),
            models.CheckConstraint(condition=Q(number__gte=1), name="planner_planversion_counts_from_one"),
        ]

    def __str__(self) -> str:
        return f"{self.plan_id} version {self.number}"


class PlanDecision(TenantModel):
    """What somebody did to a plan, and why; its history is read from here. Append-only."""

    class Act(models.TextChoices):
        CREATED = "created"
        REVISED = "revised"
        PROPOSED = "proposed"
        APPROVED = "approved"
        REJECTED = "rejected"
        LAUNCHED = "launched"
        RETIRED = "retired"
        TRANSFERRED = "transferred"
        BUDGETED = "budgeted"

    plan = models.ForeignKey(Plan, on_delete=models.PROTECT, related_name="+", db_constraint=False, db_index=False)
    act = models.CharField(max_length=12, choices=Act)
    version = models.PositiveIntegerField()
    # Conditions of an approval, the reason of a rejection, the new owner of a transfer.
    note = models.CharField(max_length=CONDITIONS_LENGTH_MAX, blank=True)
    # Who approved the version that they had made themselves.
    is_own = models.BooleanField(default=False)
    at = models.DateTimeField()
    actor = models.CharField(max_length=320)

    class Meta:
        indexes = [
            # The history of a plan.
            models.Index(fields=["organization", "plan", "at"], name="planner_decision_of_plan"),
        ]

    def __str__(self) -> str:
        return f"{self.act} {self.plan_id}"
