import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError

from apps.alerts.mail_bounces import MESSAGE_BYTES_MAX, record_bounce
from apps.core.errors import DomainError, NotFound

# sysexits.h: the mail server keeps the message out of its queue (65), or tries again later (75).
EX_DATAERR, EX_TEMPFAIL = 65, 75


class Command(BaseCommand):
    help = "Record a delivery status notification (RFC 3464), read from standard input, as a mail server pipes it."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            mail, report = record_bounce(sys.stdin.buffer.read(MESSAGE_BYTES_MAX + 1))
        except DomainError as error:
            raise CommandError(error.detail, returncode=EX_DATAERR) from None
        except NotFound:
            raise CommandError("The mail that came back is not known any more.", returncode=EX_DATAERR) from None
        except OperationalError as error:
            raise CommandError(f"The database does not answer: {error}", returncode=EX_TEMPFAIL) from None
        self.stdout.write(f"Mail {mail.pk} to {mail.address}: {report.action}, {report}.")
