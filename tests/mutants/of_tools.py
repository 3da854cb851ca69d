"""Mistakes of the producer's tools, and of what the commands print."""

from __future__ import annotations

from tests.mutants.mutant import mutant

_PRINTED = "tests/unit/test_printable.py::"

_TOOLS = "tests/unit/producer_tools/"
_LETTERS = "tests/unit/commands/dead_letters/"

MUTANTS = (
    mutant(
        "what a file on standard input has before it is published too",
        "F86",
        "_check_and_publish",
        "os.lseek(descriptor, start, os.SEEK_SET)",
        "os.lseek(descriptor, 0, os.SEEK_SET)",
        "lines that another has dealt with would be published, and others in their place lost",
        _TOOLS + "test_producer_runs.py::"
        "test_of_a_file_that_was_read_in_part_only_the_rest_is_published",
    ),
    mutant(
        "an interrupt counts what was acknowledged when it came",
        "F86",
        "Publisher.__aexit__",
        "await self._stop()",
        "pass",
        "a user would not know how many messages the topics have",
        _TOOLS + "test_producer_runs.py::"
        "test_an_interrupt_counts_what_is_acknowledged_while_the_sender_closes",
    ),
    mutant(
        "a tool that is asked to stop dies of it",
        "F86",
        "run_interruptible.interruptible",
        "loop.add_signal_handler(signal.SIGTERM, terminate)",
        "pass",
        "where an orchestrator stops a job nobody would know what it had done",
        _TOOLS + "test_producer_cli.py::"
        "test_an_interrupted_generation_says_what_was_written_and_leaves_the_old_end_state",
    ),
    mutant(
        "after a stall everything that was missed is made up for",
        "F86",
        "CATCH_UP",
        "CATCH_UP: Final = 0.1",
        "CATCH_UP: Final = 60.0",
        "whoever asked for a rate to spare others would hit them with a burst",
        "tests/unit/test_rate_limit.py::test_after_a_stall_the_records_go_no_faster_than_the_rate",
        _TOOLS + "test_publisher.py::"
        "test_after_a_stall_of_the_brokers_the_messages_come_no_faster_than_the_rate",
    ),
    mutant(
        "the expected end state is written over the old one at once",
        "F86",
        "_expected.draft",
        'draft = target.with_name(f".{target.name}.{os.getpid()}")',
        """draft = target
draft.unlink(missing_ok=True)""",
        "a check would compare with half a file, or with none",
        _TOOLS + "test_producer_cli.py::"
        "test_the_expected_end_state_stays_as_it_was_where_the_messages_were_not_all_written",
    ),
    mutant(
        "a full disk is an error of nobody",
        "F86",
        "terminal.output_errors",
        "except OSError as error:",
        "except ZeroDivisionError as error:",
        "a script would take a traceback and exit code 1 for wrong messages",
        _TOOLS + "test_producer_cli.py::test_a_full_disk_is_one_line_and_a_code_of_its_own",
    ),
    mutant(
        "a retention that the brokers do not tell is thought to be seven days",
        "F79",
        "keeps_timestamp",
        "known = RETENTION in topic.configs",
        "known = True",
        "a topic that keeps less deletes the records before they are read, marked as sent",
        _LETTERS + "test_redrive_policy.py::"
        "test_where_the_brokers_do_not_tell_their_retention_the_clocks_time_is_sent",
    ),
    mutant(
        "letters go back to a topic that is compacted",
        "F79",
        "RedrivePolicy._usable_topic",
        "if topic.compacted:",
        "if not name:",
        "of all letters of a session the brokers would keep one, and all count as sent",
        _LETTERS + "test_redrive_and_discard.py::"
        "test_a_letter_does_not_go_back_to_a_topic_that_keeps_one_record_a_session",
    ),
    mutant(
        "the parking topic takes what any topic takes",
        "F85",
        "parking_configs",
        '"max.message.bytes": str(topic.max_message_bytes or most)',
        "",
        "a large letter could never be parked and would come back for ever",
        _LETTERS + "test_context.py::"
        "test_the_parking_topic_takes_whatever_the_dead_letter_topic_holds",
    ),
    mutant(
        "a letter is known by its place and time alone",
        "F85",
        "DeadLetterRecord.failure_key",
        "digest = _digest(failed.key, failed.value, failed.headers)",
        'digest = ""',
        "of a topic made anew, a letter without a timestamp would count as sent unseen",
        _LETTERS + "test_dead_letter_record.py::"
        "test_letters_without_a_timestamp_are_told_apart_by_what_they_hold",
    ),
    mutant(
        "an unreadable letter is known by its place alone",
        "F85",
        "UnreadableDeadLetter.failure_key",
        'return json_bytes(["letter", *record.position, record.timestamp_ms, digest])',
        'return json_bytes(["letter", *record.position, 0, ""])',
        "a letter that nobody has seen would count as discarded",
        _LETTERS + "test_dead_letter_record.py::"
        "test_unreadable_letters_at_one_place_of_a_topic_made_anew_are_two",
    ),
    mutant(
        "a state that this version does not know is none",
        "F85",
        "RedrivePolicy.decide",
        "if status is not None and not (again or self.options.all_statuses):",
        "if status in _SENT and not (again or self.options.all_statuses):",
        "what a later version has dealt with would be sent again",
        _LETTERS + "test_redrive_and_discard.py::"
        "test_a_letter_whose_state_is_of_a_later_version_is_left_and_counted",
    ),
    mutant(
        "what was sent and not remembered is not counted",
        "F85",
        "DeadLetterRun._record",
        "self.counts.unrecorded += len(records)",
        "",
        "nobody would know what the next redrive sends a second time",
        _LETTERS
        + "test_redrive_and_discard.py::test_a_redrive_that_the_brokers_stop_counts_what_it_did",
    ),
    mutant(
        "a redrive goes to the partition of the key before the repair",
        "F90",
        "redriven_record",
        "if content.key is None:",
        "if dead_letter.record.key is None:",
        "a session would lie in two partitions of one topic",
        _LETTERS
        + "test_redrive_policy.py::test_the_key_that_a_transform_gives_decides_the_partition",
    ),
    mutant(
        "a letter that only says how large it was counts as whole",
        "F90",
        "TRUNCATION_NAMES",
        "frozenset({TRUNCATED, SIZE, SHA256})",
        "frozenset({TRUNCATED, SHA256})",
        "half a message would be sent back as a whole one",
        _LETTERS
        + "test_dead_letter_record.py::test_any_one_trace_of_a_cut_makes_a_letter_truncated",
    ),
    mutant(
        "a letter that only tells its digest counts as whole",
        "F90",
        "TRUNCATION_NAMES",
        "frozenset({TRUNCATED, SIZE, SHA256})",
        "frozenset({TRUNCATED, SIZE})",
        "half a message would be sent back as a whole one",
        _LETTERS
        + "test_dead_letter_record.py::test_any_one_trace_of_a_cut_makes_a_letter_truncated",
    ),
    mutant(
        "directional controls count as plainly visible",
        "F84",
        "printable_line",
        "char if char.isprintable() else _escape(char) for char in line",
        "char if char >= ' ' and char != '\\x7f' else _escape(char) for char in line",
        "a line could be shown in another order than it has, or end where it does not",
        _PRINTED + "test_no_command_prints_raw_what_came_from_outside",
    ),
    mutant(
        "the topic that a dead letter names is printed as it is",
        "F84",
        "position_text",
        'return f"{printable(topic)}-{partition} @ {offset}"',
        'return f"{topic}-{partition} @ {offset}"',
        "whoever may write to the dead-letter topic could rewrite an operator's screen",
        _PRINTED + "test_no_command_prints_raw_what_came_from_outside[_explain]",
    ),
    mutant(
        "a complaint is written as it is",
        "F84",
        "print_error",
        "sys.stderr.write(printable_line(text) +",
        "sys.stderr.write(text +",
        "the name of a file or a broker's answer could rewrite an operator's screen",
        _PRINTED + "test_no_command_prints_raw_what_came_from_outside[_print_error]",
    ),
    mutant(
        "an id of CloudEvents counts for more than the data's own eventId",
        "F89",
        "_Fields.message",
        'self._event is not None and self._fields.get("eventId") is None:',
        "self._event is not None:",
        "two sources with one id could not be told apart by anything",
        "tests/unit/state/test_duplicates.py::"
        "test_an_event_id_in_the_data_tells_two_sources_with_one_id_apart",
    ),
    mutant(
        "white space around a secret of the environment is dropped",
        "F90",
        "from_environment",
        "text.removeprefix(BYTE_ORDER_MARK) if row.secret else text.strip()",
        "text.strip()",
        "a password that begins or ends with a blank would be refused by every server",
        "tests/unit/settings/test_loading.py::"
        "test_white_space_around_a_secret_of_the_environment_belongs_to_it",
    ),
    mutant(
        "status tells of no lost records",
        "F90",
        "_partition.lost",
        "lost = 0 if committed is None else max(beginning - committed, 0)",
        "lost = 0",
        "nobody would learn that records were deleted unread",
        "tests/unit/commands/test_status.py::"
        "test_what_was_deleted_before_the_group_had_read_it_is_told_and_found",
    ),
    mutant(
        "only addresses of IPv4 can be listened on",
        "F90",
        "HttpServer.__init__",
        'socket.AF_INET6 if ":" in host else socket.AF_INET',
        "socket.AF_INET",
        "in a cluster of IPv6 no probe would reach the service",
        "tests/unit/observability/test_health.py::test_ipv6_can_be_listened_on",
    ),
    mutant(
        "a redrive begins although some marks cannot be read",
        "F85",
        "DeadLetterContext.require_all_statuses",
        "if missing:",
        """if not missing:
    return
if self.parked:""",
        "letters that were discarded would be sent back",
        "tests/unit/commands/test_not_read.py::"
        "test_a_redrive_does_not_begin_where_some_marks_cannot_be_read",
    ),
)
