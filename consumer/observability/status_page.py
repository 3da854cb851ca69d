"""The status page: HTML made from the document of ``/status.json``.

``status_page.html`` says with attributes where the document's values go. The page needs no script;
``status_page.js`` asks for it again and again, and takes over what has changed.

=============== ===================================================================
``data-each``   repeat the element for each item of this list; paths in it begin there
``data-if``     leave the element out where this is null, false, 0 or empty
``data-unless`` leave it out where it is not
``data-text``   this value is the element's text
``data-as``     how: ``text`` (where nothing is said), or another of ``FORMATS``
``data-class``  this value, with ``-`` for spaces, is added to the element's classes
=============== ===================================================================
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any, Final
from xml.etree import ElementTree as ET
from xml.etree.ElementTree import Element

from consumer.quantities import NONE, count_text, duration_text, rate_text

FOLDER: Final = files("consumer.observability")


FORMATS: Final[Mapping[str, Callable[[Any], str]]] = {
    "text": lambda value: NONE if value is None else str(value),
    "count": count_text,
    "rate": rate_text,
    "duration": duration_text,
    "time": lambda time: NONE if time is None else f"{time[:10]} {time[11:19]}",
    "clock": lambda time: NONE if time is None else time[11:19],
}


def render_page(document: Mapping[str, Any]) -> bytes:
    """Return the page. Whatever the document holds is text in it, never markup."""
    template = (FOLDER / "status_page.html").read_text("utf-8")
    page = ET.fromstring(template)  # noqa: S314 -- a file of our own
    fill(page, document)
    html = ET.tostring(page, encoding="unicode", method="html")
    return b"<!doctype html>\n" + html.encode("utf-8", "xmlcharrefreplace")


def fill(element: Element, scope: Any) -> None:  # noqa: ANN401 -- an object or a list's item
    """Follow the attributes of an element and of all below it, and take them away."""
    if (path := element.attrib.pop("data-class", None)) is not None:
        added = str(_look_up(scope, path)).replace(" ", "-")
        element.set("class", f"{element.get('class', '')} {added}".strip())
    path, kind = element.attrib.pop("data-text", None), element.attrib.pop("data-as", "text")
    if path is not None:
        element.text = FORMATS[kind](_look_up(scope, path))
    for child in list(element):
        _fill_child(element, child, scope)


def _fill_child(parent: Element, child: Element, scope: Any) -> None:  # noqa: ANN401 -- likewise
    each = child.attrib.pop("data-each", None)
    wanted, unwanted = child.attrib.pop("data-if", None), child.attrib.pop("data-unless", None)
    if (wanted is not None and not _look_up(scope, wanted)) or (
        unwanted is not None and _look_up(scope, unwanted)
    ):
        parent.remove(child)
    elif each is None:
        fill(child, scope)
    else:
        at = list(parent).index(child)
        parent.remove(child)
        for offset, item in enumerate(_look_up(scope, each)):
            one = copy.deepcopy(child)
            fill(one, item)
            parent.insert(at + offset, one)


def _look_up(scope: Any, path: str) -> Any:  # noqa: ANN401 -- whatever is there
    for name in path.split("."):
        scope = scope[name]
    return scope
