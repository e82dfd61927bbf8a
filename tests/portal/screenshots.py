"""Pictures of the main pages, for people to look at: `make screenshots`."""

import os
from pathlib import Path

import pytest

from tests.portal.conftest import Shop
from tests.portal.looking import Open
from tests.portal.sights import DOORS, sights

pytestmark = pytest.mark.xdist_group("browser")

FOLDER = Path(os.environ["SCREENSHOTS"])
SIZES = {1440: 900, 360: 800}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_pictures(look: Open, shop: Shop, scheme: str, width: int) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": SIZES[width]}
    for person, paths in ((shop.alice, sights(shop)), (None, DOORS)):
        page = look("/accounts/login/", person, color_scheme=scheme, viewport=size)
        for name, path in paths.items():
            page.goto(path, wait_until="networkidle" if name != "first-event" else "load")
            page.screenshot(path=FOLDER / f"{name}-{scheme}-{width}.png", full_page=True)
    assert len(list(FOLDER.glob(f"*-{scheme}-{width}.png"))) >= len(sights(shop)) + len(DOORS)
