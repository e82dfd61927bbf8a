"""Truing up: what is left of the gap between bills and metered usage becomes adjustments of the teams."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

from django.utils import timezone

from apps.audit import services as audit
from apps.core.errors import DomainError, NotFound
from apps.core.money import sum_usd, usd_text
from apps.core.tenancy import tenant
from apps.organizations.models import Organization
from apps.reports.adjustments import AdjustmentDraft, book
from apps.reports.gaps import BUCKETS
from apps.reports.models_invoices import Invoice, TrueUp
from apps.reports.reconciliation import Reconciliation, Share, check_buckets, reconciled, shares


@dataclass(frozen=True, slots=True)
class TruedUp:
    """What was booked, and the month in which its lines stand."""

    shares: Sequence[Share]
    booked_month: date


def true_up(*, org: Organization, invoice_id: int, actor: object, buckets: Collection[str] = BUCKETS) -> TruedUp:
    """Book what is left of these buckets of the invoice's provider and month; twice books nothing twice.

    Raises `NotFound`, and `DomainError` (`bucket_unknown`, `nothing_to_true_up`).
    """
    asked = check_buckets(buckets)
    with tenant(org):
        invoice = Invoice.objects.for_org(org).filter(pk=invoice_id).first()
        if invoice is None:
            raise NotFound("invoice")
        # Two that true up at once stand in line here, and the second finds less or nothing left.
        same = Invoice.objects.for_org(org).filter(provider=invoice.provider, month=invoice.month)
        locked = [row.pk for row in same.order_by("pk").select_for_update()]
        if invoice.pk not in locked:
            raise NotFound("invoice")
        (found,) = reconciled(org, invoice.month, invoice.provider).found
        parts = shares(org, found, asked)
        if not parts:
            raise DomainError(
                "nothing_to_true_up",
                f"Nothing is left to book of {invoice.provider} in {invoice.month:%Y-%m}: the statements and its bills"
                " agree in these buckets.",
                param="buckets",
            )
        booked = book(org=org, lines=list(_drafts(invoice, found, parts)), actor=actor)
        _store(org, invoice, parts, actor)
        same.filter(pk__in=locked).update(state=Invoice.State.TRUED_UP)
    return TruedUp(parts, booked[0].booked_month if booked else invoice.month)


def _drafts(invoice: Invoice, found: Reconciliation, parts: Sequence[Share]) -> Iterator[AdjustmentDraft]:
    """One line for each team and kind, with its buckets as the reason."""
    keys = dict.fromkeys((part.kind, part.team) for part in parts)
    for kind, team in keys:
        own = [part for part in parts if (part.kind, part.team) == (kind, team)]
        if usd := sum_usd(part.usd for part in own):
            why = ", ".join(f"{part.bucket} {part.usd.normalize():f}" for part in own)
            yield AdjustmentDraft(
                kind=kind,
                team=team,
                name=f"{found.provider} bill, {found.month:%B %Y}",
                cost_usd=usd,
                reason=f"Billed against metered, USD: {why}",
                of_month=found.month,
                provider=found.provider,
                source=f"invoice:{invoice.pk}",
            )


def _store(org: Organization, invoice: Invoice, parts: Sequence[Share], actor: object) -> None:
    at, by = timezone.now(), str(actor)[:254]
    TrueUp.objects.for_org(org).bulk_create(
        TrueUp(
            organization=org,
            provider=invoice.provider,
            month=invoice.month,
            bucket=part.bucket,
            team=part.team,
            cost_usd=part.usd,
            invoice=invoice,
            booked_at=at,
            booked_by=by,
        )
        for part in parts
    )
    audit.record(
        org=org,
        actor=actor,
        action="invoices.trued_up",
        subject=f"{invoice.provider} {invoice.month:%Y-%m}",
        data={"invoice": invoice.pk, "cost_usd": usd_text(sum_usd(part.usd for part in parts))},
    )
