"""The question after duplicate keys: reads the documents in doubt and has each one judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bson.raw_bson import RawBSONDocument

from consumer.errors import ConsumerError
from consumer.mongo.lookup import Asked, LookUp, judged_session_fields
from consumer.mongo.settlement import Settlement
from consumer.mongo.statements import Statement, W
from consumer.state.writes import EventWrite, SessionWrite

Judge = Callable[[Statement[W], RawBSONDocument | None], Sequence[ConsumerError]]


class Question:
    """Asked again and again over the attempts of one batch."""

    def __init__(self, lookup: LookUp, settlement: Settlement) -> None:
        """Read by ``lookup``, have ``settlement`` judge."""
        self._lookup = lookup
        self._settlement = settlement

    async def ask(
        self,
        events: Sequence[Statement[EventWrite]],
        sessions: Sequence[Statement[SessionWrite]],
    ) -> list[ConsumerError]:
        """Settle what can be judged; return what went wrong."""
        troubles: list[ConsumerError] = []
        asked = [
            Asked(one.write, _judging(one, self._settlement.event_found, troubles))
            for one in events
        ]
        asked += [
            Asked(
                one.write,
                _judging(one, self._settlement.session_found, troubles),
                judged_session_fields(one.write),
            )
            for one in sessions
        ]
        return troubles + await self._lookup.ask(asked)


def _judging(
    statement: Statement[W], judge: Judge[W], troubles: list[ConsumerError]
) -> Callable[[RawBSONDocument | None], None]:
    """Return what judges a statement by the first document that is found in its place."""
    judged = False

    def tell(document: RawBSONDocument | None) -> None:
        nonlocal judged
        if not judged:
            judged = True
            troubles.extend(judge(statement, document))

    return tell
