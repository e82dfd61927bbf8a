"""Pictures of the main pages, for people to look at: `make screenshots`."""

import os
from pathlib import Path

import pytest

from tests.portal.conftest import Shop
from tests.portal.looking import Open
from tests.portal.sights import DOORS, make_homes, sights

pytestmark = pytest.mark.xdist_group("browser")

FOLDER = Path(os.environ["SCREENSHOTS"])
SIZES = {1440: 900, 360: 800}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", SIZES)
def test_pictures(look: Open, shop: Shop, scheme: str, width: int) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    size = {"width": width, "height": SIZES[width]}
    furnished, people = make_homes()
    homes = [(person, {name: furnished.url()}) for name, person in people.items()]
    looks = [(shop.alice, sights(shop)), *homes, (None, DOORS)]
    for person, paths in looks:
        page = look("/accounts/login/", person, color_scheme=scheme, viewport=size)
        for name, path in paths.items():
            page.goto(path, wait_until="networkidle" if name != "first-event" else "load")
            page.screenshot(path=FOLDER / f"{name}-{scheme}-{width}.png", full_page=True)
    assert len(list(FOLDER.glob(f"*-{scheme}-{width}.png"))) >= sum(len(paths) for _, paths in looks)
