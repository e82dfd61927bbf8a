"""The fact store. Every table leads its keys with `organization_id`, and none is a foreign key's target,
so the tables that grow with calls can be distributed. Amounts are USD at 12 decimals; quantities are
integers in the meter's smallest unit (`apps.core.meters`).
"""

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from apps.core.tenancy import TenantManager

# Django finds the models of an app in this module.
from apps.usage import models_forecast  # noqa: F401
from apps.usage.columns import Count, Usd, money_within


class Tenant(models.Model):
    organization_id = models.BigIntegerField()

    objects = TenantManager()

    class Meta:
        abstract = True


class Where(models.Model):
    """What a call belongs to: labels, and ids where the label is known (no id: unattributed)."""

    team = models.TextField(null=True)
    team_id = models.BigIntegerField(null=True)
    project = models.TextField(null=True)
    project_id = models.BigIntegerField(null=True)
    workflow = models.TextField(null=True)
    workflow_id = models.BigIntegerField(null=True)

    class Meta:
        abstract = True


class Dimensions(Where):
    """The grain of spend rollups."""

    task_type = models.TextField(null=True)
    provider = models.TextField()
    model = models.TextField()
    service_tier = models.TextField(null=True)
    environment = models.TextField(null=True)
    key_id = models.BigIntegerField()
    status = models.TextField()
    priced = models.BooleanField()

    class Meta:
        abstract = True


class UserDimensions(Where):
    """The grain of rollups by user."""

    provider = models.TextField()
    model = models.TextField()
    user = models.TextField(null=True, db_column="user_name")

    class Meta:
        abstract = True


class Meters(models.Model):
    """Quantities of one call."""

    input_tokens = models.BigIntegerField(default=0)
    cache_read_tokens = models.BigIntegerField(default=0)
    cache_write_5m_tokens = models.BigIntegerField(default=0)
    cache_write_1h_tokens = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)
    reasoning_tokens = models.BigIntegerField(default=0)
    audio_input_tokens = models.BigIntegerField(default=0)
    audio_output_tokens = models.BigIntegerField(default=0)
    image_input_tokens = models.BigIntegerField(default=0)
    image_output_tokens = models.BigIntegerField(default=0)
    requests = models.BigIntegerField(default=0)
    images = models.BigIntegerField(default=0)
    audio_milliseconds = models.BigIntegerField(default=0)
    characters = models.BigIntegerField(default=0)
    searches = models.BigIntegerField(default=0)
    audio_cache_read_tokens = models.BigIntegerField(default=0)
    image_cache_read_tokens = models.BigIntegerField(default=0)
    video_milliseconds = models.BigIntegerField(default=0)
    file_searches = models.BigIntegerField(default=0)
    code_sessions = models.BigIntegerField(default=0)
    pages = models.BigIntegerField(default=0)

    class Meta:
        abstract = True


class Measures(models.Model):
    """Sums over events and postings. `cost_usd` sums the priced ones; the others are `unpriced_events`.

    `input_events` counts calls with a prompt, `ln_input_micro` sums round(10^6 ln(prompt tokens)) over them and
    `ln_input_sq_pico` its squares: the moments of a log-normal, as exact integers.
    """

    events = Count()
    input_tokens = Count()
    cache_read_tokens = Count()
    cache_write_5m_tokens = Count()
    cache_write_1h_tokens = Count()
    output_tokens = Count()
    reasoning_tokens = Count()
    audio_input_tokens = Count()
    audio_output_tokens = Count()
    image_input_tokens = Count()
    image_output_tokens = Count()
    requests = Count()
    images = Count()
    audio_milliseconds = Count()
    characters = Count()
    searches = Count()
    audio_cache_read_tokens = Count()
    image_cache_read_tokens = Count()
    video_milliseconds = Count()
    file_searches = Count()
    code_sessions = Count()
    pages = Count()
    cost_usd = Usd(default=0)
    unpriced_events = Count()
    errors = Count()
    retries = Count()
    escalations = Count()
    input_events = Count()
    ln_input_micro = Count()
    ln_input_sq_pico = Count()

    class Meta:
        abstract = True


class Day(models.Model):
    """A bucket of a day: where it begins, where it is booked, and the combination of dimensions as one value."""

    day_start = models.DateTimeField()
    booked_month = models.DateField()
    grain = models.UUIDField()

    class Meta:
        abstract = True


class Hour(Day):
    """A bucket of an hour, which knows its day."""

    hour_start = models.DateTimeField()

    class Meta:
        abstract = True


class OpenMonth(Tenant):
    """The organization's month row: months are closed in order, and this is the first still open.

    Ingestion reads it FOR SHARE, closing takes it FOR UPDATE. `previewed_at` is when a re-rating last looked: events
    stored later are received later, so that what it looked at can be found again.
    """

    organization_id = models.BigIntegerField(primary_key=True)
    first_open_month = models.DateField()
    previewed_at = models.DateTimeField(null=True)


class RollupState(Tenant):
    """Who holds this row moves the organization's deltas; `rolled_at` is when that last happened."""

    organization_id = models.BigIntegerField(primary_key=True)
    rolled_at = models.DateTimeField(null=True)


class EventKey(Tenant):
    """Decides what is new: one row per event id, whatever the event's time."""

    pk = models.CompositePrimaryKey("organization_id", "event_id")
    event_id = models.TextField()
    fingerprint = models.BinaryField(max_length=16)
    occurred_at = models.DateTimeField()
    hour_start = models.DateTimeField()

    class Meta:
        indexes = [
            # Retention deletes keys by age; BRIN costs next to nothing on the way in.
            BrinIndex(fields=["organization_id", "hour_start"], name="usage_eventkey_age"),
        ]


class Event(Tenant, Dimensions, Meters):
    """One LLM call, measured. Append-only, partitioned by the month of `hour_start`."""

    pk = models.CompositePrimaryKey("organization_id", "hour_start", "occurred_at", "event_id")
    event_id = models.TextField()
    occurred_at = models.DateTimeField()
    hour_start = models.DateTimeField()
    day_start = models.DateTimeField()
    booked_month = models.DateField()
    received_at = models.DateTimeField()
    # Names as the event said them, where the labels differ: {"team": null} is a team that was derived or given. Beside
    # them the id of the rule that the event matched, where it lacked a name: {"rule": "7"}.
    sent = models.JSONField(null=True)
    # {"format", "usage"}: the provider's own usage object, its figures only; null where meters were sent.
    usage_sent = models.JSONField(null=True)
    user = models.TextField(null=True, db_column="user_name")
    workflow_version = models.TextField(null=True)
    operation = models.TextField(null=True)
    region = models.TextField(null=True)
    tags = models.JSONField(null=True)
    run_id = models.TextField(null=True)
    parent_run_id = models.TextField(null=True)
    step = models.BigIntegerField(null=True)
    attempt = models.BigIntegerField(default=1)
    escalated_from = models.TextField(null=True)
    tool_name = models.TextField(null=True)
    error_type = models.TextField(null=True)
    outcome = models.TextField(null=True)
    latency_ms = models.BigIntegerField(null=True)
    prefix_hash = models.TextField(null=True)
    request_hash = models.TextField(null=True)
    reservation_id = models.TextField(null=True)
    model_served = models.TextField(null=True)
    stop_reason = models.TextField(null=True)
    tool_call_hash = models.TextField(null=True)
    prompt_version = models.TextField(null=True)
    retrieved_tokens = models.BigIntegerField(null=True)
    tool_result_tokens = models.BigIntegerField(null=True)
    request_id = models.TextField(null=True)
    declared_cost_usd = Usd(null=True)
    # The price the event was given; no price or a meter without a rate leaves cost_usd null: unpriced.
    price_id = models.BigIntegerField(null=True)
    tier_assumed = models.BooleanField(null=True)
    # The contract that changed the price, and the rules that filled in missing rates (null: the first set).
    contract_id = models.BigIntegerField(null=True)
    rule_set = models.SmallIntegerField(null=True)
    cost_usd = Usd(null=True)
    # round(10^6 ln(prompt tokens)); null without a prompt.
    ln_input_micro = models.IntegerField(null=True)
    # When budgets count it: the instant of its decision; null: `occurred_at`.
    budget_at = models.DateTimeField(null=True)
    # What budgets count for it while it has no price (the ceiling of the model's family).
    assumed_cost_usd = Usd(null=True)

    class Meta:
        managed = False


class Posting(Tenant, Dimensions, Measures):
    """A change of money after an event was stored: signed measures under the old or the new dimensions.

    Append-only. `cause` names the act (a re-rating, a mapped name, ...); one act posts once per event and side.
    """

    pk = models.CompositePrimaryKey("organization_id", "cause", "event_id", "side")
    cause = models.TextField()
    event_id = models.TextField()
    side = models.SmallIntegerField()
    reason = models.TextField()
    actor = models.TextField()
    posted_at = models.DateTimeField()
    occurred_at = models.DateTimeField()
    hour_start = models.DateTimeField()
    day_start = models.DateTimeField()
    booked_month = models.DateField()
    user = models.TextField(null=True, db_column="user_name")
    run_id = models.TextField(null=True)
    # What the event is priced by from here on.
    price_id = models.BigIntegerField(null=True)
    tier_assumed = models.BooleanField(null=True)
    contract_id = models.BigIntegerField(null=True)
    rule_set = models.SmallIntegerField(null=True)

    class Meta:
        indexes = [
            # Postings of a time range: ragged edges of /spend, reconciliation.
            models.Index(fields=["organization_id", "occurred_at"], name="usage_posting_time"),
            # What happened to an event.
            models.Index(fields=["organization_id", "event_id"], name="usage_posting_event"),
        ]
        constraints = [
            models.CheckConstraint(condition=models.Q(side__in=[-1, 1]), name="usage_posting_side"),
            money_within("cost_usd", "usage_posting_cost_within", signed=True),
        ]


class UncountedPosting(Tenant):
    """A posting that budgets have not counted yet: written with it, deleted in the transaction that counts it."""

    pk = models.CompositePrimaryKey("organization_id", "cause", "event_id", "side")
    cause = models.TextField()
    event_id = models.TextField()
    side = models.SmallIntegerField()


class Delta(Tenant, Hour, Dimensions, Measures):
    """Spend of one batch, waiting to be moved into the hour and day rollups."""

    pk = models.CompositePrimaryKey("organization_id", "delta_id")
    delta_id = models.UUIDField()


class HourRollup(Tenant, Hour, Dimensions, Measures):
    pk = models.CompositePrimaryKey("organization_id", "hour_start", "booked_month", "grain")


class DayRollup(Tenant, Day, Dimensions, Measures):
    pk = models.CompositePrimaryKey("organization_id", "day_start", "booked_month", "grain")

    class Meta:
        indexes = [
            # Statements and basis=booked read one booked month.
            models.Index(fields=["organization_id", "booked_month"], name="usage_dayrollup_booked"),
        ]


class UserDelta(Tenant, Hour, UserDimensions, Measures):
    pk = models.CompositePrimaryKey("organization_id", "delta_id")
    delta_id = models.UUIDField()


class UserHourRollup(Tenant, Hour, UserDimensions, Measures):
    pk = models.CompositePrimaryKey("organization_id", "hour_start", "booked_month", "grain")


class UserDayRollup(Tenant, Day, UserDimensions, Measures):
    pk = models.CompositePrimaryKey("organization_id", "day_start", "booked_month", "grain")

    class Meta:
        indexes = [
            models.Index(fields=["organization_id", "booked_month"], name="usage_userday_booked"),
        ]


class FacetDay(Tenant):
    """A day whose events are summed up by what only events hold: here while no delta was moved into the day since.

    A facet in `facets` is in `FacetRollup`, one in `left_out` in events alone ("tags." is every tag that is in
    neither), and of any other the day's events have no value.
    """

    pk = models.CompositePrimaryKey("organization_id", "day_start")
    day_start = models.DateTimeField()
    facets = ArrayField(models.TextField())
    left_out = ArrayField(models.TextField())


class FacetRollup(Tenant, Dimensions, Measures):
    """Spend of a day by the values of one facet ("": none) beside the dimensions; `line` numbers the day's rows."""

    pk = models.CompositePrimaryKey("organization_id", "day_start", "facet", "value", "line")
    day_start = models.DateTimeField()
    facet = models.TextField()
    value = models.TextField()
    line = models.BigIntegerField()


class RunFacts(Where, Measures):
    """Sums over a run's events, and what its earliest event said of it.

    `steps` counts first attempts and `events` counts attempts. With n = `slope_n`, the slope of input tokens on
    step is (n Σxy − Σx Σy) / (n Σx² − (Σx)²) over events that name their step.
    """

    run_id = models.TextField()
    parent_run_id = models.TextField(null=True)
    user = models.TextField(null=True, db_column="user_name")
    environment = models.TextField(null=True)
    first_at = models.DateTimeField()
    first_event_id = models.TextField()
    last_at = models.DateTimeField()
    steps = Count()
    outcome = models.TextField(null=True)
    outcome_at = models.DateTimeField(null=True)
    outcome_event_id = models.TextField(null=True)
    slope_n = Count()
    slope_step = Count()
    slope_step_sq = Count()
    slope_input = Count()
    slope_step_input = Count()

    class Meta:
        abstract = True


class RunDelta(Tenant, RunFacts):
    pk = models.CompositePrimaryKey("organization_id", "delta_id")
    delta_id = models.UUIDField()


class Run(Tenant, RunFacts):
    """One execution of a workflow."""

    pk = models.CompositePrimaryKey("organization_id", "run_id")
    # What its caller said of it, once the tally that bounds kept of it is forgotten.
    said_outcome = models.TextField(null=True)
    said_units = models.BigIntegerField(null=True)
    said_ended_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # Newest runs first.
            models.Index(fields=["organization_id", "-first_at"], name="usage_run_newest"),
            # The child runs of one.
            models.Index(
                fields=["organization_id", "parent_run_id", "first_at"],
                condition=models.Q(parent_run_id__isnull=False),
                name="usage_run_parent",
            ),
        ]


class Seal(Tenant, Measures):
    """What a month of events was before its rows were deleted: retention keeps the sums, reconciliation uses them.

    `month` is the UTC month of `hour_start`; `digest` is SHA-256 over the digests of its hours.
    """

    pk = models.CompositePrimaryKey("organization_id", "month")
    month = models.DateField()
    sealed_at = models.DateTimeField()
    digest = models.BinaryField(max_length=32)


class Rerating(Tenant):
    """Events priced again: first as a preview, then, where somebody says so, posted. Each phase can stop and resume.

    Events of [start, end) that match `filters` and were received by `previewed_at` are priced by `catalog_version`,
    today's contracts and `rule_set`; `book_digest` tells whether contracts or aliases changed since. The position of
    the phase under way is (`at_hour`, `at_instant`, `at_event`).
    """

    class State(models.TextChoices):
        PREVIEWING = "previewing"
        PREVIEWED = "previewed"
        POSTING = "posting"
        STOPPED = "stopped"
        POSTED = "posted"
        STALE = "stale"

    pk = models.CompositePrimaryKey("organization_id", "rerating_id")
    rerating_id = models.UUIDField()
    state = models.TextField(choices=State)
    # The phase that a stopped one resumes with: previewing or posting.
    phase = models.TextField()
    reason = models.TextField()
    actor = models.TextField()
    created_at = models.DateTimeField()
    start = models.DateTimeField()
    end = models.DateTimeField()
    filters = models.JSONField()
    catalog_version = models.IntegerField()
    rule_set = models.SmallIntegerField()
    book_digest = models.TextField(null=True)
    previewed_at = models.DateTimeField(null=True)
    posted_by = models.TextField(null=True)
    posted_at = models.DateTimeField(null=True)
    # Events in scope, as rollups count them when the phase begins, and events looked at so far.
    expected = models.BigIntegerField(default=0)
    scanned = models.BigIntegerField(default=0)
    at_hour = models.DateTimeField(null=True)
    at_instant = models.DateTimeField(null=True)
    at_event = models.TextField(null=True)
    worked_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["organization_id", "-created_at"], name="usage_rerating_newest")]


class ReratingLine(Tenant):
    """What a re-rating changes in one team, month and model: as previewed, and as posted so far.

    `before_usd` and `after_usd` sum the priced events; `newly_priced` and `newly_unpriced` count those that change
    sides. `month` is the month in which the calls happened, `booked_month` the one that the difference is booked in.
    """

    pk = models.CompositePrimaryKey("organization_id", "rerating_id", "grain")
    rerating_id = models.UUIDField()
    grain = models.UUIDField()
    team = models.TextField(null=True)
    month = models.DateField()
    booked_month = models.DateField()
    provider = models.TextField()
    model = models.TextField()
    events = models.BigIntegerField(default=0)
    newly_priced = models.BigIntegerField(default=0)
    newly_unpriced = models.BigIntegerField(default=0)
    before_usd = Usd(default=0)
    after_usd = Usd(default=0)
    posted_events = models.BigIntegerField(default=0)
    posted_usd = Usd(default=0)
