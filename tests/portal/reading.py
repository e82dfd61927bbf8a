"""Reads a page of the portal as a person does: numbers, the links around them, the rows of tables."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

from django.http import HttpResponse
from django.test import Client
from django.test.html import Element, parse_html

THIN = "\u202f"


@dataclass(frozen=True, slots=True)
class Number:
    """A number on a page: USD where `is_money`; `value` None reads "unpriced"."""

    value: Decimal | None
    is_money: bool


@dataclass(frozen=True, slots=True)
class Door:
    """A number that is a link. `place` says where it stands, for the message of a failing test."""

    number: Number
    href: str
    place: str


@dataclass(frozen=True, slots=True)
class Listing:
    """Every page of a list of events; `stated` is the sum above the list, where there is one."""

    events: int
    unpriced: int
    cost_usd: Decimal
    stated: tuple[Number, ...]


class Page:
    """An answer of the portal. The parser refuses tags that do not match, so every page read is well formed."""

    def __init__(self, response: HttpResponse) -> None:
        assert response.status_code == 200, f"{response.status_code}: {response.content[:2000].decode()}"
        self.html = response.content.decode()

    @cached_property
    def root(self) -> Element:
        return parse_html(self.html.replace("<!doctype html>", ""))

    @cached_property
    def text(self) -> str:
        return text_of(self.root)

    def find(self, name: str, **attributes: str) -> Iterator[Element]:
        return find(self.root, name, **attributes)

    def doors(self) -> list[Door]:
        """Links whose text is a number, outside the frame."""
        main = next(self.find("main"))
        return [
            Door(number, attribute(link, "href") or "", text_of(row))
            for row in (*find(main, "tr"), *find(main, "p"), *find(main, "dd"))
            for link in find(row, "a")
            if (number := number_of(link)) is not None
        ]

    def rows(self) -> list[list[Element]]:
        """Cells of the rows in table bodies."""
        return self.rows_of(self.root)

    @staticmethod
    def rows_of(element: Element) -> list[list[Element]]:
        return [
            [cell for cell in row.children if isinstance(cell, Element) and cell.name in ("th", "td")]
            for body in find(element, "tbody")
            for row in find(body, "tr")
        ]

    def link(self, rel: str) -> str | None:
        return next((attribute(link, "href") for link in self.find("a", rel=rel)), None)


def get(client: Client, url: str) -> Page:
    return Page(client.get(url))


def elements(element: Element) -> Iterator[Element]:
    """Every element inside, in order."""
    for child in element.children:
        if isinstance(child, Element):
            yield child
            yield from elements(child)


def find(element: Element, name: str, **attributes: str) -> Iterator[Element]:
    for one in elements(element):
        if one.name == name and all(attribute(one, key) == value for key, value in attributes.items()):
            yield one


def attribute(element: Element, name: str) -> str | None:
    """`name` with underscores for hyphens."""
    value: Any = dict(element.attributes).get(name.replace("_", "-"))
    return None if value is None else str(value)


def text_of(element: Element) -> str:
    parts = (child if isinstance(child, str) else text_of(child) for child in element.children)
    return " ".join(part for part in parts if part)


def number_of(element: Element) -> Number | None:
    """The one number that an element says, exact; None where it says something else."""
    text = text_of(element)
    if text == "unpriced":
        return Number(None, True)
    exact = next((found for one in find(element, "span") if (found := attribute(one, "data-exact"))), text)
    is_money = exact.endswith("USD") or "." in text
    digits = exact.removesuffix("USD").removesuffix(" events").removesuffix(" event")
    digits = digits.replace(THIN, "").replace("\u2212", "-").strip()
    try:
        return Number(Decimal(digits), is_money)
    except ArithmeticError:
        return None


def list_events(client: Client, url: str) -> Listing:
    """Follow a list of events to its end."""
    events = unpriced = 0
    cost_usd = Decimal(0)
    stated: tuple[Number, ...] = ()
    following: str | None = url
    while following:
        page = get(client, following)
        found = (number_of(one) for one in page.find("b") if attribute(one, "data-found"))
        stated = stated or tuple(number for number in found if number)
        for *_, cost in page.rows():
            number = number_of(cost)
            assert number, text_of(cost)
            events += 1
            unpriced += number.value is None
            cost_usd += number.value or 0
        following = page.link("next")
    return Listing(events, unpriced, cost_usd, stated)
