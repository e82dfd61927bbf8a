"""Errors that a person can act on."""


class DomainError(Exception):
    """A rule said no.

    `code` is stable and machine-readable, `param` names the offending input, and `detail` is a sentence
    that names the value and the way out.
    """

    def __init__(self, code: str, detail: str, *, param: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.param = param


class NotFound(DomainError):
    """What was asked for does not exist, or belongs to somebody else: both read the same."""

    def __init__(self, what: str) -> None:
        super().__init__("not_found", f"No such {what}.")
