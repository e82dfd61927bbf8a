"""Passwords that are refused: quickly guessed ones, and those that are in the lists of breaches. Nobody is asked."""

import hashlib
import re
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ValidationError
from zxcvbn import zxcvbn

from apps.accounts.models import User

# Of zxcvbn's 0 to 4: beyond 10^8 guesses.
STRENGTH_MIN = 3
# zxcvbn's time grows with the square of the length; what is longer is not quickly guessed for what it begins with.
LENGTH_JUDGED = 64
OWN_WORDS = ("finops", "token", "budget")


class GuessableValidator:
    """Refuses what a guesser who knows people's habits, and this person's address, would try early."""

    def validate(self, password: str, user: User | None = None) -> None:
        own = [user.name, user.email, user.email.partition("@")[0], *re.split(r"\W+", user.email)] if user else []
        judged = zxcvbn(password[:LENGTH_JUDGED], user_inputs=[*OWN_WORDS, *filter(None, own)])
        if judged["score"] < STRENGTH_MIN:
            warning = judged["feedback"]["warning"].rstrip(".")
            why = f" ({warning[0].lower()}{warning[1:]})" if warning else ""
            raise ValidationError(
                f"This password is quickly guessed{why}. Use four or more words that have nothing to do with"
                " each other, or let a password manager make one.",
                code="password_guessable",
            )

    def get_help_text(self) -> str:
        return "Use what nobody guesses: some unrelated words, or what a password manager makes."


class BreachedValidator:
    """Refuses what is in the file of breached passwords, where the installation has one."""

    def validate(self, password: str, user: User | None = None) -> None:
        file = settings.BREACHED_PASSWORDS_FILE
        if file is not None and is_listed(file, password):
            raise ValidationError(
                "This password is in a list of breached passwords, which guessers try first. Choose another.",
                code="password_breached",
            )

    def get_help_text(self) -> str:
        return ""


def is_listed(file: Path, password: str) -> bool:
    """Whether the password's SHA-1 begins a line of the file: upper-case hex, in order, `:count` behind it or not.

    A binary search over bytes: some 35 reads in the whole of Have I Been Pwned, and nothing of it in memory.
    """
    wanted = hashlib.sha1(password.encode(), usedforsecurity=False).hexdigest().upper().encode()
    with file.open("rb") as lines:
        low, high = 0, lines.seek(0, 2)
        while low < high:
            middle = (low + high) // 2
            lines.seek(middle)
            if middle:
                lines.readline()
            line = lines.readline()
            if line[:40] == wanted:
                return True
            if line and line[:40] < wanted:
                low = middle + 1
            else:
                high = middle
    return False
