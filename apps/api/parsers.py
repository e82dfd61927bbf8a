from collections.abc import Mapping
from typing import IO, Any

from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from apps.core.errors import DomainError

BODY_BYTES_MAX = 1024 * 1024


class BoundedJSONParser(JSONParser):
    """JSON of at most a mebibyte that does not nest without end."""

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        length = int((parser_context or {})["request"].META.get("CONTENT_LENGTH") or 0)
        if length > BODY_BYTES_MAX:
            raise DomainError("body_too_large", f"The body has {length} bytes: send at most {BODY_BYTES_MAX}.")
        try:
            return super().parse(stream, media_type, parser_context)
        except RecursionError:
            raise ParseError("The body nests too deep.") from None
