"""What a replay is asked for, as the command line says it, and what of it goes together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumer.contract.messages import MessageKind
from consumer.errors import SettingsError
from consumer.kafka.topic_ids import TopicIds
from consumer.mongo.clients import servers_of
from consumer.settings import Settings

NO_LETTERS = "none"
"""The name that stands for no dead-letter topic at all."""

STANDARD_INPUT = "-"

_NO_SESSION_ID = "is not the id of a session: it must be text, and not empty"


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command; None or empty where one is not given."""

    topics: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    from_offset: int | None = None
    to_offset: int | None = None
    from_time: str | None = None
    to_time: str | None = None
    sessions: tuple[str, ...] = ()
    all_partitions: bool = False
    kinds: tuple[MessageKind, ...] = ()
    everything: bool = False
    file: str | None = None
    repair: bool = False
    dry_run: bool = False
    rate: float | None = None
    state: str | None = None
    workers: int | None = None
    letters: bool = True
    as_json: bool = False

    @property
    def selects(self) -> bool:
        """Whether any option narrows down what is read."""
        return bool(
            self.topics
            or self.partitions
            or self.sessions
            or self.kinds
            or self.from_time is not None
            or self.to_time is not None
            or self.from_offset is not None
            or self.to_offset is not None
        )


def check_request(request: Request, settings: Settings) -> None:
    """Refuse what does not go together. Raises ``SettingsError`` with a line for each."""
    violations = list(_violations(request, settings))
    if violations:
        raise SettingsError("\n".join(violations))


def check_selection(request: Request) -> None:
    """Refuse a selection that contradicts itself; where nothing is selected, all is meant.

    Raises ``SettingsError`` with a line for each.
    """
    violations = list(_contradictions(request))
    if violations:
        raise SettingsError("\n".join(violations))


def check_session_id(session_id: str) -> None:
    """Refuse an argument that cannot be the id of a session. Raises ``SettingsError``."""
    if not _is_session_id(session_id):
        raise SettingsError(f"SESSION_ID {_NO_SESSION_ID}")


def _violations(request: Request, settings: Settings) -> Iterable[str]:
    yield from _violations_of_selection(request)
    if request.repair and request.file is None:
        yield "--repair restores what a file lists as altered: it needs --file"
    if request.dry_run and request.state is not None:
        yield "--state keeps the progress of a replay: a dry run has none"
    if request.letters and not request.dry_run and settings.dead_letters.topic in request.topics:
        yield (
            f"--topic {settings.dead_letters.topic} is where dead letters go: a replay of it "
            "would feed itself (producer-tools redrive sends them back)"
        )


def _violations_of_selection(request: Request) -> Iterable[str]:
    if request.file is not None:
        if request.selects or request.everything:
            yield "--file lists the records itself: no other selection goes with it"
    elif request.everything:
        if request.selects:
            yield "--all goes with no other selection"
    elif not request.selects:
        yield "nothing is selected: say which part of the topics to replay, or --all"
    yield from _contradictions(request)


def _contradictions(request: Request) -> Iterable[str]:
    if not all(map(_is_session_id, request.sessions)):
        yield f"--session {_NO_SESSION_ID}"
    if request.all_partitions and not request.sessions:
        yield "--all-partitions says where a session is looked for: it needs --session"
    first, end = request.from_offset, request.to_offset
    if first is not None and end is not None and first >= end:
        yield f"--from-offset {first} is not below --to-offset {end}"


def _is_session_id(argument: str) -> bool:
    """Tell whether there is text; bytes that are not UTF-8 come as surrogates."""
    return bool(argument) and not any("\ud800" <= char <= "\udfff" for char in argument)


def selection_facts(
    request: Request,
    settings: Settings,
    digest: str | None,
    topic_ids: TopicIds | None = None,
) -> dict[str, object]:
    """Return what a state file must agree on with the command that goes on from it.

    ``digest`` is the file's. Each name is the option to look at where they differ. Where every
    topic has an id, that tells the brokers, however they are addressed.
    """
    known = bool(topic_ids) and None not in (topic_ids or {}).values()
    brokers = None if known else sorted(settings.kafka.bootstrap_servers)
    return {
        "--topic": sorted(request.topics or settings.kafka.topics),
        "--partition": sorted(request.partitions),
        "--from-offset": request.from_offset,
        "--to-offset": request.to_offset,
        "--from-time": request.from_time,
        "--to-time": request.to_time,
        "--session": sorted(request.sessions),
        "--all-partitions": request.all_partitions,
        "--type": sorted(kind.value for kind in request.kinds),
        "--file": digest,
        "--repair": request.repair,
        "--mongo-uri": servers_of(settings.mongo.uri.get_secret_value()),
        "--database": settings.mongo.database,
        "mongo.sessions": settings.mongo.sessions,
        "mongo.events": settings.mongo.events,
        "--bootstrap-servers": brokers,
    }
