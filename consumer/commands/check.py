"""``consumer check``: every precondition of a run, with a fix for each that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence
from dataclasses import asdict

from rich.text import Text

from consumer.checks import CheckResult, CheckStatus
from consumer.commands.common.output import console, print_statuses
from consumer.errors import ConsumerError, ExitCode, PreconditionError, SettingsError
from consumer.kafka.decompression import check_codecs
from consumer.mongo.store import open_store
from consumer.printable import printable_line
from consumer.settings.model import Settings
from consumer.settings.sources import exposed_files
from consumer.wiring import describe_own_group, preflight_kafka

STYLES = {CheckStatus.OK: "green", CheckStatus.WARNING: "yellow", CheckStatus.FAILED: "bold red"}


async def check_everything(settings: Settings, *, as_json: bool) -> ExitCode:
    """Print a line for each precondition; ``FOUND`` as exit code where one fails.

    Raises ``SettingsError`` where a setting cannot be used, as a run does.
    """
    results = [_check_codecs(), *_check_secret_files()]
    kafka, mongo = await asyncio.gather(
        _within_time("Kafka", _check_kafka(settings), settings),
        _within_time("MongoDB", _check_mongo(settings), settings),
    )
    results += [*kafka, *mongo]
    if not any(result.status is CheckStatus.FAILED for result in (*kafka, *mongo)):
        results += await _check_target(settings)
    if as_json:
        console().out(json.dumps([asdict(result) for result in results]))
    else:
        _print(results)
    failed = any(result.status is CheckStatus.FAILED for result in results)
    return ExitCode.FOUND if failed else ExitCode.DONE


def _check_secret_files() -> list[CheckResult]:
    return [
        CheckResult.warning(
            variable,
            "everybody on this machine may read the file that it names",
            "chmod o-r, or defaultMode: 0440 of a Kubernetes volume",
        )
        for variable in exposed_files()
    ]


def _check_codecs() -> CheckResult:
    try:
        check_codecs()
    except PreconditionError as error:
        return CheckResult.failed("codecs", str(error), "pip install 'aiokafka[lz4,snappy,zstd]'")
    return CheckResult.ok("codecs", "gzip, snappy, lz4 and zstd can be read")


async def _check_kafka(settings: Settings) -> Sequence[CheckResult]:
    _, results = await preflight_kafka(settings)
    return [CheckResult.ok("Kafka", f"reached by {settings.kafka.bootstrap_servers[0]}"), *results]


async def _check_mongo(settings: Settings) -> Sequence[CheckResult]:
    async with open_store(settings.mongo) as store:
        await store.answer()
        return await store.inspect()


async def _check_target(settings: Settings) -> Sequence[CheckResult]:
    """Compare where the group's records went with where they would go."""
    name = "stored records"
    try:
        async with (
            asyncio.timeout(settings.kafka.request_timeout + settings.mongo.timeout),
            open_store(settings.mongo) as store,
        ):
            await describe_own_group(settings, store.target)
            target = await store.target()
    except PreconditionError as error:
        return [_refused(name, error)]
    except (TimeoutError, ConsumerError):
        return ()  # it has just gone away; a start would say so
    return [CheckResult.ok(name, f"go to {target}")]


async def _within_time(
    server: str, checks: Awaitable[Sequence[CheckResult]], settings: Settings
) -> Sequence[CheckResult]:
    """Return what was found, or one result that says why nothing could be asked.

    Raises ``SettingsError``.
    """
    limit = settings.kafka.request_timeout + settings.mongo.timeout
    try:
        async with asyncio.timeout(limit):
            return await checks
    except TimeoutError:
        said = f"no answer within {limit:g} s"
    except PreconditionError as error:
        return [_refused(server, error)]
    except SettingsError:
        raise
    except ConsumerError as error:
        said = str(error)
    address = "kafka.bootstrap_servers" if server == "Kafka" else "mongo.uri"
    return [CheckResult.failed(server, said, f"is it running, and is {address} right?")]


def _refused(name: str, error: PreconditionError) -> CheckResult:
    said, _, fix = str(error).partition("; fix: ")
    return CheckResult.failed(name, said, fix)


def _print(results: Sequence[CheckResult]) -> None:
    out = console()
    rows = [(Text(one.status, STYLES[one.status]), one.name, one.detail) for one in results]
    print_statuses(out, "precondition", "found", rows)
    for result in results:
        if result.fix and result.status is not CheckStatus.OK:
            name, fix = printable_line(result.name), printable_line(result.fix)
            out.print(Text.assemble(f"\n{name}: ", (fix, "bold")))
