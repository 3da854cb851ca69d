"""The options that several commands have in common."""

from __future__ import annotations

from typing import Annotated

import typer

from producer_tools.outgoing import Topics

DEFAULT_TOPICS = Topics()
MEBIBYTE = 1024 * 1024

BootstrapServers = Annotated[
    str | None,
    typer.Option(
        "--bootstrap-servers",
        metavar="HOST:PORT,…",
        help="The brokers to ask first; else the consumer's setting kafka.bootstrap_servers.",
        show_default=False,
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
