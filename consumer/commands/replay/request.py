"""What a replay is asked for, as the command line says it, and what of it goes together. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from consumer.commands.common.record_selection import RecordSelection, selection_violations
from consumer.errors import SettingsError
from consumer.kafka.topic_ids import TopicIds
from consumer.mongo.clients import servers_of
from consumer.settings import Settings

NO_LETTERS = "none"
"""The name that stands for no dead-letter topic at all."""


@dataclass(frozen=True, slots=True)
class ReplayRequest(RecordSelection):
    """The options of the command: what is selected, and what is done with it."""

    everything: bool = False
    file: str | None = None
    repair: bool = False
    dry_run: bool = False
    rate: float | None = None
    state: str | None = None
    workers: int | None = None
    letters: bool = True
    as_json: bool = False


def check_request(request: ReplayRequest, settings: Settings) -> None:
    """Refuse what does not go together. Raises ``SettingsError`` with a line for each."""
    violations = list(_violations(request, settings))
    if violations:
        raise SettingsError("\n".join(violations))


def _violations(request: ReplayRequest, settings: Settings) -> Iterable[str]:
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


def _violations_of_selection(request: ReplayRequest) -> Iterable[str]:
    if request.file is not None:
        if request.selects or request.everything:
            yield "--file lists the records itself: no other selection goes with it"
    elif request.everything:
        if request.selects:
            yield "--all goes with no other selection"
    elif not request.selects:
        yield "nothing is selected: say which part of the topics to replay, or --all"
    yield from selection_violations(request)


def selection_facts(
    request: ReplayRequest,
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
