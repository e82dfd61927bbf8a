import pytest

from apps.reports.cells import cell


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, ""),
        ("", ""),
        ("search", "search"),
        ("a=1", "a=1"),
        ("'quoted'", "'quoted'"),
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("-1", "'-1"),
        ("@cmd", "'@cmd"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("＋1", "'＋1"),
        ("－1", "'－1"),
        ("＠1", "'＠1"),
    ],
)
def test_a_cell_holds_text_and_no_formula(text: str | None, shown: str) -> None:
    assert cell(text) == shown
