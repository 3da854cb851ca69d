"""Mistakes about what the brokers hand out, and about clock, log and port."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_INPUT = "tests/faults/kafka/test_odd_batches.py::"
_FETCHING = "tests/faults/kafka/test_client_fetching.py::"
_SURROUNDINGS = "tests/faults/kafka/test_environment.py::"
_ENDS = "tests/unit/test_beginning_and_end.py::"

MUTANTS = (
    Mutant(
        "results are read as the client reads them",
        "A2 B21",
        "open_group_client",
        "use_bounded_results(kafka.max_decompressed_bytes)",
        "",
        (
            _FETCHING + "test_what_stands_before_a_batch_that_cannot_be_decoded_is_read",
            _INPUT + "test_a_header_whose_name_is_not_utf_8_costs_nothing_and_its_letter_has_it[0]",
        ),
        "one batch that cannot be decoded takes with it what was fetched beside it",
    ),
    Mutant(
        "what cannot be read is trouble of all partitions",
        "B19",
        "KafkaSource.poll",
        "if not failed:",
        "if failed or not failed:",
        (_INPUT + "test_a_batch_that_cannot_be_decoded_stops_its_partition_and_no_other[codec 5]",),
        "one batch that cannot be decoded would stop every partition",
    ),
    Mutant(
        "offsets have no holes",
        "B23",
        "InFlightBatches.start",
        "taken[-1].offset + 1)",
        "taken[0].offset + len(taken))",
        (_INPUT + "test_offsets_may_jump_and_the_one_behind_the_last_record_is_committed",),
        "a compacted log, or a transaction's marker, would be read again and again",
    ),
    Mutant(
        "the watchdog trusts the clock of the machine",
        "F42",
        "Watchdog.run.clock",
        "clock = asyncio.get_running_loop().time",
        'clock = lambda: __import__("time").time()',
        (_SURROUNDINGS + "test_a_clock_that_jumps_kills_nothing",),
        "a clock that is set would look like a loop that is stuck",
    ),
    Mutant(
        "the log's writer dies of what it cannot write",
        "F43",
        "LogWriter._write_out",
        "with contextlib.suppress(OSError):",
        "with contextlib.suppress(BlockingIOError):",
        (_SURROUNDINGS + "test_a_log_that_cannot_be_written_does_not_stop_the_consumer",),
        "after a full disk nothing would be logged any more",
    ),
    Mutant(
        "a port in use is a defect",
        "F44",
        "HttpServer.__init__",
        "except OSError as error:",
        "except LookupError as error:",
        (_SURROUNDINGS + "test_a_port_that_is_in_use_ends_the_start_before_anything_is_connected",),
        "whoever started it would read a traceback instead of a setting's name",
    ),
    Mutant(
        "signals are answered once the command line is loaded",
        "F62",
        "consumer.__main__.main",
        """signals.handle_signals_early(serves=serves)
from consumer import cli  # noqa: PLC0415 -- it takes a second, in which a signal may come""",
        """from consumer import cli  # noqa: PLC0415

signals.handle_signals_early(serves=serves)""",
        (_ENDS + "test_a_run_that_is_asked_to_stop_while_it_loads_ends_with_0_at_once[module-15]",),
        "a stop in the first second is lost in a container, and elsewhere kills with -15",
    ),
    Mutant(
        "an attempt at the start takes as long as it likes",
        "F62",
        "retry_until",
        "asyncio.timeout_at(until if cancel else None)",
        "asyncio.timeout_at(None)",
        (_ENDS + "test_a_server_that_says_nothing_is_waited_for_no_longer_than_a_start_may_take",),
        "a start that may take two seconds takes fourteen",
    ),
    Mutant(
        "last words are written where the process waits for them",
        "F82",
        "exit_process",
        'writer.write(words.removesuffix("\\n"))',
        """sys.stderr.write(words)
sys.stderr.flush()""",
        (
            _ENDS
            + "test_nobody_who_does_not_read_its_last_words_changes_how_a_process_ends[nobody_reads-consumer check --set nope=1]",
        ),
        "a process that has failed lives on, and no orchestrator starts another",
    ),
    Mutant(
        "whoever says a byte now and then keeps a thread",
        "F72",
        "HttpServer.service_actions",
        "self._cut(late)",
        "",
        ("tests/unit/observability/test_health.py::test_a_client_that_trickles_keeps_no_thread",),
        "a client that never ends its request holds a thread for ever",
    ),
    Mutant(
        "every client of the port gets a thread",
        "F72",
        "HttpServer.__init__",
        "BoundedSemaphore(MOST_CLIENTS)",
        "BoundedSemaphore(10**6)",
        (
            "tests/unit/observability/test_health.py::test_many_clients_get_a_bounded_number_of_threads_and_probes_are_answered",
        ),
        "whoever reaches the port can make the process run out of threads",
    ),
    Mutant(
        "whoever watches gives up at the first trouble",
        "F66",
        "_watch",
        """if status is None:
    raise""",
        "raise",
        (
            "tests/unit/commands/test_status_shown.py::test_watching_shows_trouble_and_goes_on[trouble0]",
        ),
        "the one screen that shows an outage ends with it",
    ),
    Mutant(
        "settings that are not told are in order",
        "F67",
        "check_topics",
        "if name not in unseen and not topic.allows(Operation.DESCRIBE_CONFIGS)",
        "if name in unseen",
        (
            "tests/unit/kafka/test_topics.py::test_settings_that_are_not_told_for_want_of_a_grant_are_warned_of",
        ),
        "nobody warns before unread records expire, and the check says ok",
    ),
    Mutant(
        "a grant that is missing shows when it is needed",
        "F67",
        "Admin.describe",
        "if operation is not None:",
        "if operation is Operation.DESCRIBE_CONFIGS:",
        (
            "tests/unit/kafka/test_topics.py::test_a_topic_without_the_grant_is_refused_at_once_with_its_fix",
        ),
        "a command hangs for a minute, or does half of its work, before it says what it may not do",
    ),
    Mutant(
        "trouble is kept by its stage",
        "F83",
        "EngineObserver.recovered",
        "self._failing[stage].pop(frozenset(partitions), None)",
        "self._failing[stage].clear()",
        (
            "tests/unit/observability/test_observer.py::test_one_batch_that_recovers_does_not_hide_another_that_still_fails",
        ),
        "an instance says that it is ready while a batch of it is not written",
    ),
    Mutant(
        "a name that is no name is repeated",
        "F87",
        "unknown.said",
        'said = name if plain else "a name (not shown)"',
        "said = name",
        (
            "tests/unit/settings/test_loading.py::test_a_secret_in_the_place_of_a_name_is_not_repeated[hunter2-canary]",
        ),
        "a password that lost its place stands in the terminal, and in whatever keeps its output",
    ),
    Mutant(
        "what a file holds is taken for its name",
        "F87",
        "_security",
        'if "-----BEGIN" in (getattr(security, name) or ""):',
        "if False:",
        (
            "tests/unit/settings/test_loading.py::test_c38_what_a_file_holds_in_the_place_of_its_name_is_not_repeated[key_file]",
        ),
        "`check` would look for a file of that name only after the brokers, and name no setting",
    ),
    Mutant(
        "true is a number",
        "F87",
        "_no_truth_value",
        """if isinstance(value, bool):
    raise _refused()
return value""",
        "return value",
        ("tests/unit/settings/test_loading.py::test_true_is_no_number[mongo.timeout]",),
        "a time-out of one second, since somebody wrote that there should be one",
    ),
    Mutant(
        "only a Service called consumer makes variables",
        "F91",
        "_LINKED_PORT",
        '_LINKED_PORT = re.compile(r"CONSUMER_(\\w+_)?PORT")',
        '_LINKED_PORT = re.compile(r"CONSUMER_PORT")',
        (
            "tests/unit/settings/test_loading.py::test_a_service_of_any_name_keeps_no_pod_from_starting[CONSUMER_METRICS_PORT-tcp://10.0.0.1:8080]",
        ),
        "any Service called consumer-… keeps every pod of the namespace from starting",
    ),
    Mutant(
        "any number is a port",
        "F93",
        "Server",
        "AfterValidator(_reachable),",
        "",
        (
            "tests/unit/settings/test_loading.py::test_every_other_is_refused_before_anything_is_opened[a:99999]",
        ),
        "a typo ends with a defect's exit code, a minute later",
    ),
    Mutant(
        "lag is as of the last fetch",
        "F95",
        "Watchdog.learn_ends",
        "state.stable_end = stable_ends.get(state.partition)",
        """del stable_ends
return""",
        ("tests/unit/engine/test_watchdog.py::test_what_is_not_fetched_meanwhile_is_lag_too",),
        "behind a batch that fails the lag stands still, however much is published",
    ),
    Mutant(
        "the margin of a partition stays",
        "F95",
        "RetentionWatch.report_margins",
        "for partition in told - self._told:",
        "for partition in told & self._told:",
        (
            "tests/unit/engine/test_retention_watch.py::test_the_margin_is_taken_back_when_all_is_read",
        ),
        "an alarm for records that were read long ago",
    ),
    Mutant(
        "each batch is a line of what was settled",
        "F95",
        "EngineObserver.log_totals",
        "if not self._totals or (waits and not final):",
        "if not self._totals:",
        (
            "tests/unit/observability/test_observer.py::test_what_is_settled_is_a_line_a_second_at_most_with_the_sums",
        ),
        "a record a line, for as long as records come one by one",
    ),
    Mutant(
        "counters come with their first count",
        "F95",
        "Metrics.assigned",
        "self._begin_at_zero(partition)",
        "pass",
        (
            "tests/unit/observability/test_metrics.py::test_counters_are_there_before_anything_is_counted",
        ),
        "an alarm on their increase misses the first of everything",
    ),
    Mutant(
        "why a broker cannot be used is left in the client's log",
        "F94",
        "_remembering.create_conn",
        "_FAILED[host, port] = error",
        "",
        (
            "tests/faults/test_wrong_start.py::test_a_host_that_nobody_knows_and_a_port_that_nobody_listens_on_are_told_apart",
        ),
        "a wrong password, a wrong port and a wrong name are all told as brokers that do not answer",
    ),
    Mutant(
        "why the database does not answer is not asked",
        "F94",
        "retry_until",
        'f"({reason() or said}); consumer check says more"',
        'f"({said}); consumer check says more"',
        ("tests/faults/test_wrong_start.py::test_why_the_database_does_not_answer_is_told[motor]",),
        "a start ends with nothing but the name of an exception, or not even that",
    ),
    Mutant(
        "a user that is refused is trouble that passes",
        "F94",
        "OpenStore.answer",
        "if error.cause == AUTHENTICATION_FAILED:",
        "if not error.cause:",
        (
            "tests/faults/test_wrong_start.py::test_a_user_that_the_database_refuses_is_told_at_once[pymongo]",
        ),
        "a wrong password is tried for a minute, at every start",
    ),
    Mutant(
        "a run that ends for gaps names the first",
        "F96",
        "Backlog.skip_gaps",
        'raise IncidentError("\\n".join(incidents))',
        "raise IncidentError(incidents[0])",
        ("tests/unit/engine/test_runner.py::test_a_run_that_ends_for_gaps_names_every_one",),
        "whoever publishes again what is lost does so for one partition of many",
    ),
    Mutant(
        "a narrow terminal cuts the partition",
        "F97",
        "add_name_column",
        'table.add_column(title, no_wrap=True, overflow="ignore", min_width=longest)',
        "table.add_column(title, no_wrap=longest > 0)",
        (
            "tests/unit/commands/common/test_output.py::test_a_narrow_terminal_cuts_no_partitions_number[40]",
        ),
        "the one part of a name that tells partitions apart is the part that is cut",
    ),
    Mutant(
        "why a run ends is plain text among JSON",
        "F97",
        "log_exit",
        "if _readable(settings, terminal=sys.stderr is not None and sys.stderr.isatty()):",
        "if settings:",
        (_ENDS + "test_the_line_that_says_why_a_run_ends_is_json_where_the_log_is",),
        "whoever collects the logs loses the one line that says why the process is gone",
    ),
    Mutant(
        "whatever packages were left there are taken",
        "F92",
        "Dockerfile",
        """! -name "*.$tag.so" | head""",
        """-name "*.$tag" | head""",
        (
            "tests/unit/test_image.py::test_packages_that_were_left_there_for_another_python_are_refused",
        ),
        "an image is built, and ends with an import that fails at every start",
    ),
)
