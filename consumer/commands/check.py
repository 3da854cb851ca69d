"""``consumer check``: every precondition of a run, with a cure for each that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import asdict

from rich.table import Table
from rich.text import Text

from consumer.commands.console import console
from consumer.errors import ConsumerError, ExitCode, PreconditionError
from consumer.findings import Finding, Status
from consumer.kafka.codecs import check_codecs
from consumer.kafka.committed import AcceptedTarget
from consumer.kafka.group_grants import kafka_findings
from consumer.kafka.groups import describe_group
from consumer.kafka.topics import open_admin
from consumer.mongo.opening import open_store
from consumer.printable import printable_line
from consumer.settings import Settings, exposed_files

STYLES = {Status.OK: "green", Status.WARNING: "yellow", Status.FAILED: "bold red"}


async def check_everything(settings: Settings, *, as_json: bool) -> ExitCode:
    """Print a line for each precondition; ``FOUND`` as exit code where one fails."""
    findings = [_codecs(), *_exposed()]
    kafka, mongo = await asyncio.gather(
        _answers("Kafka", _kafka(settings), settings),
        _answers("MongoDB", _mongo(settings), settings),
    )
    findings += [*kafka, *mongo]
    if not any(finding.status is Status.FAILED for finding in (*kafka, *mongo)):
        findings += await _belonging(settings)
    if as_json:
        console().out(json.dumps([asdict(finding) for finding in findings]))
    else:
        _print(findings)
    failed = any(finding.status is Status.FAILED for finding in findings)
    return ExitCode.FOUND if failed else ExitCode.DONE


def _exposed() -> list[Finding]:
    return [
        Finding(
            variable,
            Status.WARNING,
            "everybody on this machine may read the file that it names",
            "chmod o-r, or defaultMode: 0440 of a Kubernetes volume",
        )
        for variable in exposed_files()
    ]


def _codecs() -> Finding:
    try:
        check_codecs()
    except PreconditionError as error:
        return Finding(
            "codecs", Status.FAILED, str(error), "pip install 'aiokafka[lz4,snappy,zstd]'"
        )
    return Finding("codecs", Status.OK, "gzip, snappy, lz4 and zstd can be read")


async def _kafka(settings: Settings) -> Sequence[Finding]:
    async with open_admin(settings.kafka) as admin:
        names = [*settings.kafka.topics, settings.dead_letters.topic]
        topics = await admin.describe(names, None)
        reached = Finding("Kafka", Status.OK, f"reached by {settings.kafka.bootstrap_servers[0]}")
        return [
            reached,
            *await kafka_findings(settings, admin, topics),
        ]


async def _mongo(settings: Settings) -> Sequence[Finding]:
    async with open_store(settings.mongo) as store:
        await store.answer()
        return await store.inspect()


async def _belonging(settings: Settings) -> Sequence[Finding]:
    """Compare where the group's records went with where they would go."""
    name = "stored records"
    try:
        async with (
            asyncio.timeout(settings.kafka.request_timeout + settings.mongo.timeout),
            open_store(settings.mongo) as store,
            open_admin(settings.kafka) as admin,
        ):
            accepted = AcceptedTarget(await store.target(), settings.mongo.moved_from)
            group = await describe_group(admin, settings.kafka.group_id)
    except (TimeoutError, ConsumerError):
        return ()  # it has just gone away; a start would say so
    try:
        accepted.check(
            {p: k for p, k in group.committed.items() if p.topic in settings.kafka.topics}
        )
    except PreconditionError as error:
        said, _, cure = str(error).partition("; cure: ")
        return [Finding(name, Status.FAILED, said, cure)]
    return [Finding(name, Status.OK, f"go to {accepted.target}")]


async def _answers(
    server: str, look: Awaitable[Sequence[Finding]], settings: Settings
) -> Sequence[Finding]:
    """Return what was found, or one finding that says why nothing could be asked."""
    limit = settings.kafka.request_timeout + settings.mongo.timeout
    try:
        async with asyncio.timeout(limit):
            return await look
    except TimeoutError:
        said = f"no answer within {limit:g} s"
    except PreconditionError as error:
        said, _, cure = str(error).partition("; cure: ")
        return [Finding(server, Status.FAILED, said, cure)]
    except ConsumerError as error:
        said = str(error)
    address = "kafka.bootstrap_servers" if server == "Kafka" else "mongo.uri"
    return [Finding(server, Status.FAILED, said, f"is it running, and is {address} right?")]


def _print(findings: Sequence[Finding]) -> None:
    out = console()
    table = Table("", "precondition", "found", box=None, pad_edge=False)
    for finding in findings:
        table.add_row(
            Text(finding.status, STYLES[finding.status]),
            Text(printable_line(finding.name)),
            Text(printable_line(finding.detail)),
        )
    out.print(table)
    for finding in findings:
        if finding.cure and finding.status is not Status.OK:
            name, cure = printable_line(finding.name), printable_line(finding.cure)
            out.print(Text.assemble(f"\n{name}: ", (cure, "bold")))
