"""``producer-tools verify``: reads topics, or a file, as the consumer would; changes nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from consumer.contract.rejection import Reason
from consumer.errors import ExitCode
from consumer.kafka.connection import broker_errors
from consumer.kafka.producer import partition_for
from consumer.kafka.range_reader import open_range_reader
from consumer.kafka.ranges import offsets_of
from consumer.settings.model import KafkaSettings
from consumer.terminal import progress, write
from producer_tools.message_lines import LONGEST_LINE, read_lines
from producer_tools.verification import Verification

NEVER_LOOKED_AT: Final = (
    "whether records contradict each other or what is stored (conflict)",
    "what the database alone refuses, such as by an index of yours (unstorable)",
    "what mongo.retention_days changes: what is skipped for its age, 18 bytes more in an event",
)
"""What is no matter of one record's own bytes."""

OF_TOPICS: Final = (
    "what was published since this began",
    "how the topics are set up, such as compaction: consumer check does",
)
OF_FILES: Final = "keys, headers and partitions, which a file of lines has none of"


@dataclass(frozen=True, slots=True)
class VerifyRequest:
    """What is read: these topics, all of the settings' else; the ``last`` offsets of a partition.

    ``client_header``: the header that names a producer which sends no CloudEvents.
    """

    kafka: KafkaSettings
    topics: tuple[str, ...] = ()
    last: int | None = None
    client_header: str = "client-id"
    as_json: bool = False


async def verify_topics(request: VerifyRequest) -> ExitCode:
    """Look at every record of the topics. Raises ``BrokersError``."""
    kafka, found = request.kafka, _verification(request)
    with broker_errors(kafka):
        async with open_range_reader(kafka) as reader:
            every = await reader.ranges(request.topics or kafka.topics)
            counts = Counter(part.partition.topic for part in every)
            ranges = every
            if request.last is not None:
                ranges = [replace(p, first=max(p.first, p.end - request.last)) for p in every]
            with progress("verifying", offsets_of(ranges)) as advance:
                async for partition, records in reader.read(ranges):
                    for record in records:
                        key = record.key
                        home = None if key is None else partition_for(key, counts[partition.topic])
                        found.add(record, home)
                    advance(len(records))
            unread = [str(part) for part in reader.unread]
    before = offsets_of(every) - offsets_of(ranges)
    missing = [f"{before:,} offsets before the last {request.last:,}"] if before else []
    return _show(found, [*unread, *missing, *OF_TOPICS], request, complete=not unread)


async def verify_lines(name: str, descriptor: int, request: VerifyRequest) -> ExitCode:
    """Look at every line of a file or pipe that is called ``name``. Raises ``SettingsError``."""
    found = _verification(request)
    with progress("verifying") as advance:
        async for line in read_lines(name, descriptor, advance):
            if line.text is None:
                words = f"a line of more than {LONGEST_LINE:,} bytes"
                found.refuse(f"line {line.number}", Reason.UNSTORABLE.value, words)
            else:
                found.add_line(line.number, line.text)
    return _show(found, [OF_FILES], request, complete=True)


def _verification(request: VerifyRequest) -> Verification:
    kafka = request.kafka
    return Verification(kafka.key_policy, kafka.max_value_bytes, request.client_header)


def _show(
    found: Verification, missing: Sequence[str], request: VerifyRequest, *, complete: bool
) -> ExitCode:
    """Write the report. What could not be read is no better than what is wrong."""
    not_looked_at = [*missing, *NEVER_LOOKED_AT]
    if request.as_json:
        write(json.dumps({**found.facts(), "not_looked_at": not_looked_at}) + "\n", flush=True)
    else:
        said = [*found.lines(), *(f"not looked at: {what}" for what in not_looked_at)]
        write("\n".join(said) + "\n", flush=True)
    return ExitCode.DONE if complete and not found.total().rejected else ExitCode.FOUND
