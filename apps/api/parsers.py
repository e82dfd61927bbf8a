import io
from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from apps.core.errors import DomainError

# Every value of a body costs far more than its bytes: no call of ours has nearly as many.
COMMAS_MAX = 10_000


class BoundedJSONParser(JSONParser):
    """JSON that has not too many values and does not nest without end. Its bytes are bounded by the settings."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        body: bytes = stream.read()
        if body.count(b",") > COMMAS_MAX:
            raise DomainError("body_too_large", f"The body has more than {COMMAS_MAX:,} commas: send less at once.")
        try:
            # JSON is UTF-8 whatever a header says: in another charset commas could be spelled otherwise.
            return super().parse(io.BytesIO(body), media_type, {**(parser_context or {}), "encoding": "utf-8"})
        except RecursionError:
            raise ParseError("The body nests too deep.") from None
