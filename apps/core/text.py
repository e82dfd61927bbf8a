"""What a name may be made of."""

import re

# Control characters, and halves of surrogate pairs, which no encoding can write.
_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def is_name(text: str, length_max: int) -> bool:
    """Whether the text has 1 to `length_max` characters that can all be written down."""
    return 1 <= len(text) <= length_max and not _UNWRITABLE.search(text)
