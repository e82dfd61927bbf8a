"""Where mail goes while no mail server is set."""

from django.core.mail import EmailMessage
from django.core.mail.backends import console


class EmailBackend(console.EmailBackend):
    """Prints what its reader would see as text, links in one piece; the MIME parts would fill the screen."""

    def write_message(self, message: EmailMessage) -> None:
        self.stream.write(
            f"Mail to {', '.join(message.recipients())} (no EMAIL_HOST is set)\nSubject: {message.subject}\n\n"
            f"{message.body}\n{'-' * 79}\n"
        )
