"""Text in the cells of a spreadsheet. Pure."""

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def cell(text: str | None) -> str:
    """Text that a spreadsheet reads as text: what would start a formula gets an apostrophe in front."""
    if text is None:
        return ""
    return f"'{text}" if text.startswith(_STARTS_A_FORMULA) else text
