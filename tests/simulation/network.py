"""Requests and answers between hosts: late, lost on either way, or both.

What a server does happens in the world, so a request on its way is carried out whether or not
its sender still lives; and nobody can tell a lost request from a lost answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

from tests.simulation.loop import SimulationLoop

T = TypeVar("T")


class LostError(Exception):
    """No answer came; the request may have been carried out."""


@dataclass(slots=True)
class Link:
    """The way from one host to one server. Shares are of requests, durations in seconds.

    ``slowest`` may be longer than the sender waits: then the request is carried out when he has
    given up, and perhaps asked again. ``again``: requests that are carried out twice.
    """

    request_timeout: float
    loss: float = 0.0
    slow: float = 0.0
    slowest: float = 0.5
    cut: bool = False
    again: float = 0.0


Links = Mapping[str, Link]
"""One process's ways: to the records (``data``), the ``group``, the ``store``, the ``letters``."""


def new_links(request_timeout: float) -> Links:
    """Return links without faults."""
    return {name: Link(request_timeout) for name in ("data", "group", "store", "letters")}


AGAIN_WITHIN = 8.0
"""Seconds after which a request that is carried out twice has been so."""


class Network:
    """Carries every request of a simulated world."""

    def __init__(self, loop: SimulationLoop, chance: Random) -> None:
        self._loop = loop
        self._chance = chance
        self.over = False
        """Set when the world has ended: nothing is carried any more."""

    def call(self, link: Link, action: Callable[[], Any]) -> asyncio.Future[Any]:
        """Have a server do ``action``; await its answer, its exception, or ``LostError``.

        An action may return a future: then the server answers when that is done.
        """
        loop, answer = self._loop, self._loop.create_future()
        if self.over:
            answer.cancel()
            return answer
        lost_request = link.cut or self._is_lost(link)
        if lost_request:
            loop.in_world(self._patience(link), _fail, answer)
            return answer
        if link.slow and link.slowest > link.request_timeout:
            loop.in_world(link.request_timeout, _fail, answer)
        if link.again and self._chance.random() < link.again:
            loop.in_world(self._chance.random() * AGAIN_WITHIN, self._arrive, link, action, answer)
        loop.in_world(self._delay(link), self._arrive, link, action, answer)
        return answer

    def _arrive(self, link: Link, action: Callable[[], Any], answer: asyncio.Future[Any]) -> None:
        if self.over:
            return
        try:
            result = action()
        except Exception as error:  # noqa: BLE001 -- a server's refusal travels like any answer
            self._reply(link, answer, None, error)
            return
        if isinstance(result, asyncio.Future):
            self._loop.in_world(link.request_timeout, _fail, answer)
            result.add_done_callback(
                lambda done: None if done.cancelled() else self._reply_of(link, answer, done)
            )
        else:
            self._reply(link, answer, result, None)

    def _reply_of(self, link: Link, answer: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        error = done.exception()
        self._reply(link, answer, None if error else done.result(), error)

    def _reply(
        self, link: Link, answer: asyncio.Future[Any], result: Any, error: BaseException | None
    ) -> None:
        if link.cut or self._is_lost(link):
            self._loop.in_world(self._patience(link), _fail, answer)
        else:
            self._loop.in_world(self._delay(link), _answer, answer, result, error)

    def _is_lost(self, link: Link) -> bool:
        return link.loss > 0 and self._chance.random() < link.loss

    def _delay(self, link: Link) -> float:
        if link.slow and self._chance.random() < link.slow:
            return self._chance.random() * link.slowest
        return self._chance.random() * 0.004

    def _patience(self, link: Link) -> float:
        """A connection may break at once, or the sender waits until its time is over."""
        return link.request_timeout if self._chance.random() < 0.5 else self._delay(link)


def _answer(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
        answer.exception()  # who asked may be dead by now, and that is no trouble


def _fail(answer: asyncio.Future[Any]) -> None:
    _answer(answer, None, LostError())
