"""The mail that carries an invitation's link, which stands nowhere else."""

from smtplib import SMTPException

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.template.loader import render_to_string

from apps.organizations.members import INVITATION_LASTS, IssuedInvitation
from apps.organizations.models import Organization
from apps.organizations.permissions import ROLE_LABELS, ROLE_MEANS

log = structlog.get_logger(__name__)


def send_invitation(org: Organization, issued: IssuedInvitation) -> bool:
    """Whether the mail server took it. Waits on the network: never inside `tenant(org)`."""
    role = issued.invitation.role
    text = render_to_string(
        "mail/invitation.txt",
        {
            "organization": org.name,
            "by": issued.invitation.created_by,
            "role": ROLE_LABELS[role].lower(),
            "means": ROLE_MEANS[role],
            "teams": ", ".join(issued.invitation.teams),
            "url": f"{settings.BASE_URL}/invitations/{issued.token}",
            "days": INVITATION_LASTS.days,
        },
    )
    try:
        send_mail(f"Join {org.name} on FinOps for AI", text, None, [issued.invitation.email])
    except (OSError, SMTPException):
        log.warning("invitation not mailed", organization_id=org.pk, invitation_id=issued.invitation.pk, exc_info=True)
        return False
    return True
