"""The command line: what can be asked for. What is done about it is in ``producer_runs``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from consumer import __version__, signals
from consumer.settings.model import KafkaSettings
from consumer.settings.sources import load_settings, parse_assignments
from producer_tools.generate import GenerationPlan
from producer_tools.message_lines import open_input
from producer_tools.outgoing_message import MEBIBYTE, Topics
from producer_tools.producer_runs import load_chitchat, publish_lines, run_generate, warn
from producer_tools.publisher import CLIENT_HEADER, Publisher
from producer_tools.verify import VerifyRequest, verify_lines, verify_topics

DEFAULT_TOPICS = Topics()

BootstrapServers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT,…",
        help="The brokers to ask first; else the consumer's setting kafka.bootstrap_servers.",
        show_default=False,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Any of the consumer's settings by its dotted name, e.g. --set "
        "kafka.security.protocol=SSL. Repeatable. Others on the machine see it: no secrets.",
    ),
]
SessionsTopic = Annotated[
    str, typer.Option("--sessions-topic", metavar="TOPIC", help="Where session messages go.")
]
EventsTopic = Annotated[
    str, typer.Option("--events-topic", metavar="TOPIC", help="Where events go.")
]
MaxMessageBytes = Annotated[
    int,
    typer.Option(
        "--max-message-bytes",
        min=1024,
        metavar="BYTES",
        help="Refuse larger messages; at most what the topics accept.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Write the result as one JSON object.")]


class GenerateTo(StrEnum):
    """Where generated messages go."""

    STDOUT = "stdout"
    KAFKA = "kafka"


app = typer.Typer(
    name="producer-tools",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
load_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Publish a data set of real conversations.",
)
app.add_typer(load_app, name="load")


@app.callback(invoke_without_command=True)
def _about(
    *,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True)
    ] = False,
) -> None:
    """Publish conversation messages to Kafka: your own, made-up ones, or real conversations.

    And verify what others have published.

    Brokers and credentials are the consumer's settings (CONSUMER_KAFKA__BOOTSTRAP_SERVERS, …).

    Exit codes: 0 done; 1 some messages are wrong; 2 usage, or a file that cannot be read or
    written; 3 the brokers or standard output cannot be used; 130 or 143 interrupted by SIGINT or
    SIGTERM, after saying what was done.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def _existing(file: Path | None) -> Path | None:
    if file is not None and str(file) != "-" and not file.exists():
        raise typer.BadParameter(f"{str(file)!r} does not exist")
    return file


def _kafka(bootstrap_servers: str | None, assignments: list[str] | None) -> KafkaSettings:
    """Return how to connect, by these options and the settings. Raises ``SettingsError``."""
    overrides = parse_assignments(assignments or [])
    if bootstrap_servers is not None:
        overrides["kafka.bootstrap_servers"] = bootstrap_servers
    return load_settings(overrides).kafka


def _publisher(
    bootstrap_servers: str | None,
    assignments: list[str] | None,
    topics: Topics,
    max_message_bytes: int = MEBIBYTE,
) -> Publisher:
    """Return what publishes by these options and the settings. Raises ``SettingsError``."""
    kafka = _kafka(bootstrap_servers, assignments)
    return Publisher(kafka, topics=topics, max_message_bytes=max_message_bytes, warn=warn)


@app.command()
def publish(
    *,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE|-",
            dir_okay=False,
            callback=_existing,
            help="Newline-delimited JSON, one message a line; - is standard input.",
        ),
    ],
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Publish the good lines although some are wrong.")
    ] = False,
    bootstrap_servers: BootstrapServers = None,
    sessions_topic: SessionsTopic = DEFAULT_TOPICS.sessions,
    events_topic: EventsTopic = DEFAULT_TOPICS.events,
    max_message_bytes: MaxMessageBytes = MEBIBYTE,
    assignments: Set = None,
    as_json: AsJson = False,
) -> None:
    """Publish a file of messages, or a stream of them.

    Each line is read exactly as the consumer will read it, and a wrong one is reported with
    its number. Of a file with a wrong line nothing is published. A stream cannot be looked
    through beforehand: it is published up to its first wrong line. With --skip-invalid, all
    good lines of either are. The key is the sessionId; the kind of a message decides its topic.

    Example: `producer-tools publish messages.ndjson --bootstrap-servers broker:9092`
    """
    topics = Topics(sessions_topic, events_topic)
    publisher = _publisher(bootstrap_servers, assignments, topics, max_message_bytes)
    with open_input(file) as opened:
        published = publish_lines(*opened, publisher, skip_invalid=skip_invalid, as_json=as_json)
        raise typer.Exit(signals.run_interruptible(published))


@app.command()
def verify(
    *,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE|-]",
            dir_okay=False,
            callback=_existing,
            help="Newline-delimited JSON instead of topics; - is standard input.",
        ),
    ] = None,
    topics: Annotated[
        list[str] | None,
        typer.Option(
            "--topic", help="Read this topic; else the consumer's kafka.topics. Repeatable."
        ),
    ] = None,
    last: Annotated[
        int | None, typer.Option(min=1, help="Read only so many offsets of each partition.")
    ] = None,
    client_header: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The header that names a producer which sends no CloudEvents."
        ),
    ] = CLIENT_HEADER,
    bootstrap_servers: BootstrapServers = None,
    assignments: Set = None,
    as_json: AsJson = False,
) -> None:
    """Look for what the consumer would reject or warn of, by producer; nothing is changed.

    Reads topics from their beginning to their end of now, without a group, or a file. Each
    finding is told with its reason, how many records have it and where the first ones lie,
    never with what they say. A producer is known by its CloudEvents' source, else by a header.
    Exit 1 if a record would be rejected, or something could not be read. The last lines say what
    was not looked at.

    Example: `producer-tools verify --topic conversation.events --last 10000`
    """
    if file is not None and (topics or last):
        raise typer.BadParameter("--topic and --last are for topics; a file is read whole")
    kafka = _kafka(bootstrap_servers, assignments)
    request = VerifyRequest(kafka, tuple(topics or ()), last, client_header, as_json)
    if file is None:
        raise typer.Exit(signals.run_interruptible(verify_topics(request)))
    with open_input(file) as opened:
        raise typer.Exit(signals.run_interruptible(verify_lines(*opened, request)))


@app.command()
def generate(
    *,
    seed: Annotated[int, typer.Option(help="The same seed makes the same messages.")] = 1,
    sessions: Annotated[int, typer.Option(min=0, help="How many sessions.")] = 100,
    events_per_session: Annotated[
        int, typer.Option(min=0, help="How many events a session has, on average.")
    ] = 10,
    duplicates: Annotated[
        float, typer.Option(min=0, max=1, help="The share of messages sent twice, 0 to 1.")
    ] = 0.0,
    disorder: Annotated[
        float, typer.Option(min=0, max=1, help="The share of messages that come late, 0 to 1.")
    ] = 0.0,
    disorder_window: Annotated[
        int, typer.Option(min=1, help="How many places late, at most; duplicates likewise.")
    ] = 100,
    malformed: Annotated[
        float,
        typer.Option(min=0, max=1, help="Wrong messages beside the good ones, as a share of them."),
    ] = 0.0,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Messages a second, at most.")
    ] = None,
    to: Annotated[
        GenerateTo, typer.Option("--to", help="Write lines, or publish.")
    ] = GenerateTo.STDOUT,
    expect: Annotated[
        Path | None,
        typer.Option(
            "--expect",
            dir_okay=False,
            writable=True,
            metavar="FILE",
            help="Where the expected end state is written; else to standard error.",
        ),
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    sessions_topic: SessionsTopic = DEFAULT_TOPICS.sessions,
    events_topic: EventsTopic = DEFAULT_TOPICS.events,
    assignments: Set = None,
    as_json: AsJson = False,
) -> None:
    """Make up conversations, and tell what must be stored once they have been consumed.

    Everything follows from --seed: the same options make the same bytes. The faults are laid
    over the same conversations: more of one changes nothing else. Wrong messages belong in
    the dead-letter topic; the expected end state counts them by reason.

    Example: `producer-tools generate --sessions 1000 --duplicates 0.1 --to kafka`
    """
    plan = GenerationPlan(
        seed, sessions, events_per_session, duplicates, disorder, disorder_window, malformed
    )
    publisher = None
    if to is GenerateTo.KAFKA:
        topics = Topics(sessions_topic, events_topic)
        publisher = _publisher(bootstrap_servers, assignments, topics)
    raise typer.Exit(run_generate(plan, publisher, rate=rate, expect=expect, as_json=as_json))


@load_app.command()
def chitchat(
    *,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Only the first conversations.", metavar="N")
    ] = None,
    bootstrap_servers: BootstrapServers = None,
    sessions_topic: SessionsTopic = DEFAULT_TOPICS.sessions,
    events_topic: EventsTopic = DEFAULT_TOPICS.events,
    assignments: Set = None,
    as_json: AsJson = False,
) -> None:
    """Publish the 7,168 conversations of BYU's Chit-Chat Challenge, 258,145 messages in all.

    They come with the extra demo (the package chitchat-dataset). Both speakers are people:
    the first to speak is published as the user, the other as the bot.

    Example: `producer-tools load chitchat --limit 100`
    """
    publisher = _publisher(bootstrap_servers, assignments, Topics(sessions_topic, events_topic))
    raise typer.Exit(signals.run_interruptible(load_chitchat(publisher, limit, as_json=as_json)))


def main() -> None:
    """Run the command line; the exit code says how it went."""
    signals.run_command(app, "producer-tools")
