"""Mail without a mail server."""

import io

from django.core.mail import EmailMultiAlternatives, get_connection


def test_a_mail_is_printed_as_its_reader_sees_it() -> None:
    link = f"http://localhost:8000/accounts/confirm-email/{'x' * 100}/"
    mail = EmailMultiAlternatives("Confirm your address", f"Grüße\n{link}\n", "a@example.com", ["b@example.com"])
    mail.attach_alternative("<h1>Confirm</h1>", "text/html")
    printed = io.StringIO()
    assert get_connection("finops.mail.EmailBackend", stream=printed).send_messages([mail]) == 1
    assert printed.getvalue().splitlines() == [
        "Mail to b@example.com (no EMAIL_HOST is set)",
        "Subject: Confirm your address",
        "",
        "Grüße",
        link,
        "",
        "-" * 79,
    ]
