"""The status page as people see it: in a real browser, in light and dark, on a desk and a phone."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from consumer.observability.http_server import HttpServer, serve
from consumer.settings.model import HttpSettings
from tests.browser import Browser, BrowserPage
from tests.fakes.instance import Instance, instance_in_trouble

pytestmark = pytest.mark.browser

LIVE = "document.querySelector('#refresh')?.textContent === 'live'"
PHONE, DESKTOP = 390, 1100
HOSTILE = "</template><script>window.hit = 1</script><img src=x onerror='window.hit = 1'>"


@contextmanager
def served(instance: Instance, port: int = 0) -> Iterator[HttpServer]:
    settings = HttpSettings(host="127.0.0.1", port=port)
    with serve(settings, instance.health, instance.metrics, instance.reader) as server:
        assert server is not None
        yield server


def address(server: HttpServer) -> str:
    return f"http://127.0.0.1:{server.port}/"


def assert_nothing_is_wrong(page: BrowserPage, server: HttpServer) -> None:
    """Nothing was refused by the policy, nothing failed, nothing came from elsewhere."""
    assert [entry["entry"] for entry in page.told("Log.entryAdded")] == []
    assert page.told("Runtime.exceptionThrown") == []
    assert page.told("Runtime.consoleAPICalled") == []
    asked = {request["request"]["url"] for request in page.told("Network.requestWillBeSent")}
    assert {url for url in asked if not url.startswith(address(server))} == set()


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_its_window_in_light_and_dark(browser: Browser, width: int, dark: bool) -> None:
    with served(instance_in_trouble()) as server:
        page = browser.open_page(address(server), width=width, dark=dark)
        page.wait_for(LIVE)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness = sum(int(part) for part in paper.strip("rgb()").split(","))
        assert (brightness < 3 * 64) is dark
        narrow = page.evaluate(
            "[...document.querySelectorAll('main :not(thead, thead *)')]"
            ".filter((e) => getComputedStyle(e).display === 'block')"
            ".filter((e) => e.scrollWidth > e.clientWidth + 1).map((e) => e.outerHTML)"
        )
        assert narrow == []
        assert_nothing_is_wrong(page, server)
        if pictures := os.environ.get("TEST_SCREENSHOTS"):
            name = f"status-page-{width}-{'dark' if dark else 'light'}.png"
            page.take_picture(Path(pictures) / name)


def test_what_the_script_takes_over_is_the_page_as_the_server_fills_it(
    browser: Browser,
) -> None:
    with served(instance_in_trouble()) as server:
        script = browser.open_page(address(server))
        script.wait_for(LIVE)
        plain = browser.open_page(address(server), script=False)
        shown = "document.title + document.querySelector('main').innerHTML.replace(/>\\s+</g, '><')"
        by_server, by_script = plain.evaluate(shown), script.evaluate(shown)
        assert by_server.replace(">snapshot<", ">live<") == by_script


def test_without_script_it_is_a_snapshot(browser: Browser) -> None:
    with served(instance_in_trouble()) as server:
        page = browser.open_page(address(server), script=False)
        shown = page.evaluate("document.body.innerText")
        assert "snapshot" in shown
        assert "MongoDB: NetworkTimeout: db:27017: timed out, attempt 7" in shown
        assert page.evaluate("document.querySelectorAll('tbody tr').length") > 12
        assert_nothing_is_wrong(page, server)


def test_it_follows_what_happens_and_keeps_what_was_unfolded(browser: Browser) -> None:
    instance = Instance()
    with served(instance) as server:
        page = browser.open_page(address(server))
        page.wait_for(LIVE)
        assert page.evaluate("document.querySelector('.state').innerText") == "Not ready"
        page.evaluate("document.querySelector('summary').click()")
        instance.read_all()
        instance.settle(10)
        page.wait_for("document.querySelector('.state').innerText === 'Ready'")
        assert page.evaluate("document.title") == "ready: conversation-consumer"
        assert page.evaluate("document.querySelectorAll('.partitions tbody tr').length") == 6
        assert page.evaluate("document.querySelector('details').open") is True
        assert page.evaluate("document.querySelector('.waiting')") is None
        assert_nothing_is_wrong(page, server)


def test_an_instance_that_does_not_answer_any_more_is_not_shown_as_ready(browser: Browser) -> None:
    instance = Instance()
    instance.read_all()
    with served(instance) as server:
        page = browser.open_page(address(server))
        page.wait_for(LIVE)
    page.wait_for("document.querySelector('#refresh').textContent === 'no answer since'")
    assert page.evaluate("document.title") == "no answer: conversation-consumer"
    assert page.evaluate("document.querySelector('main').className") == "old"
    state = "getComputedStyle(document.querySelector('.state')).color"
    soft = "getComputedStyle(document.querySelector('.kind')).color"
    assert page.evaluate(f"{state} === {soft}") is True
    with served(instance, server.port):
        page.wait_for(LIVE)
        assert page.evaluate("document.querySelector('main').className") == ""


def test_no_text_becomes_markup_on_the_page_or_in_its_script(browser: Browser) -> None:
    instance = instance_in_trouble()
    instance.health.not_ready(HOSTILE, HOSTILE)
    instance.log("error", HOSTILE, detail=HOSTILE)
    with served(instance) as server:
        page = browser.open_page(address(server))
        page.wait_for(LIVE)
        assert page.evaluate("window.hit ?? null") is None
        assert page.evaluate("document.querySelectorAll('main :is(script, img)').length") == 0
        assert HOSTILE in page.evaluate("document.querySelector('.waiting').textContent")
        assert_nothing_is_wrong(page, server)


def test_probes_are_answered_at_once_while_many_people_look(browser: Browser) -> None:
    with served(instance_in_trouble()) as server:
        for _ in range(8):
            browser.open_page(address(server)).wait_for(LIVE)
        began = time.monotonic()
        connection = HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", "/livez")
        assert connection.getresponse().status == 200
        connection.close()
        assert time.monotonic() - began < 4.0
        assert threading.active_count() < 30
