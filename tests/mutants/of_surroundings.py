"""Mistakes about what the brokers hand out, and about clock, log and port."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_INPUT = "tests/faults/kafka/test_bad_input_b.py::"
_FETCHING = "tests/faults/kafka/test_traps_a_fetching.py::"
_SURROUNDINGS = "tests/faults/kafka/test_faults_f_surroundings.py::"
_ENDS = "tests/unit/test_beginning_and_end.py::"

MUTANTS = (
    Mutant(
        "results are read as the client reads them",
        "A2 B21",
        "consumer/stream/client.py",
        "    use_bounded_results(kafka.max_decompressed_bytes)\n",
        "",
        (
            _FETCHING + "test_a2_what_stands_before_a_batch_that_cannot_be_decoded_is_read",
            _INPUT
            + "test_b21_f59_a_header_whose_name_is_not_utf_8_costs_nothing_and_its_letter_has_it[0]",
        ),
        "one batch that cannot be decoded takes with it what was fetched beside it",
    ),
    Mutant(
        "what cannot be read is trouble of all partitions",
        "B19",
        "consumer/stream/source.py",
        "            return Polled(failed=error.failed) if generation == self._generation else Polled()\n",
        "            raise\n",
        (
            _INPUT
            + "test_b19_a_batch_that_cannot_be_decoded_stops_its_partition_and_no_other[codec 5]",
        ),
        "one batch that cannot be decoded would stop every partition",
    ),
    Mutant(
        "offsets have no holes",
        "B23",
        "consumer/engine/batches.py",
        "taken[-1].offset + 1)",
        "taken[0].offset + len(taken))",
        (_INPUT + "test_b23_offsets_may_jump_and_the_one_behind_the_last_record_is_committed",),
        "a compacted log, or a transaction's marker, would be read again and again",
    ),
    Mutant(
        "the watchdog trusts the clock of the machine",
        "F42",
        "consumer/engine/watchdog.py",
        "        clock = asyncio.get_running_loop().time\n",
        '        clock = lambda: __import__("time").time()\n',
        (_SURROUNDINGS + "test_f42_a_clock_that_jumps_kills_nothing",),
        "a clock that is set would look like a loop that is stuck",
    ),
    Mutant(
        "the log's writer dies of what it cannot write",
        "F43",
        "consumer/observe/writer.py",
        "        with contextlib.suppress(OSError):\n            while data:\n",
        "        with contextlib.suppress(BlockingIOError):\n            while data:\n",
        (_SURROUNDINGS + "test_f43_a_log_that_cannot_be_written_does_not_stop_the_consumer",),
        "after a full disk nothing would be logged any more",
    ),
    Mutant(
        "a port in use is a defect",
        "F44",
        "consumer/observe/http.py",
        "        except OSError as error:\n",
        "        except LookupError as error:\n",
        (
            _SURROUNDINGS
            + "test_f44_a_port_that_is_in_use_ends_the_start_before_anything_is_connected",
        ),
        "whoever started it would read a traceback instead of a setting's name",
    ),
    Mutant(
        "signals are answered once the command line is loaded",
        "F62",
        "consumer/__main__.py",
        "    signals.answer_early(serves=serves)\n    from consumer import cli  # noqa: PLC0415 -- it takes a second, in which a signal may come\n",
        "    from consumer import cli  # noqa: PLC0415\n\n    signals.answer_early(serves=serves)\n",
        (
            _ENDS
            + "test_f62_a_run_that_is_asked_to_stop_while_it_loads_ends_with_0_at_once[module-15]",
        ),
        "a stop in the first second is lost in a container, and elsewhere kills with -15",
    ),
    Mutant(
        "an attempt at the start takes as long as it likes",
        "F62",
        "consumer/app.py",
        "asyncio.timeout_at(patience_of(settings) if deadline is None else deadline)",
        "asyncio.timeout_at(None)",
        (
            _ENDS
            + "test_f62_a_server_that_says_nothing_is_waited_for_no_longer_than_a_start_may_take",
        ),
        "a start that may take two seconds takes fourteen",
    ),
    Mutant(
        "last words are written where the process waits for them",
        "F82",
        "consumer/signals.py",
        '        writer.write(words.removesuffix("\\n"))\n',
        "        sys.stderr.write(words)\n        sys.stderr.flush()\n",
        (
            _ENDS
            + "test_f82_nobody_who_does_not_read_its_last_words_changes_how_a_process_ends[nobody_reads-consumer check --set nope=1]",
        ),
        "a process that has failed lives on, and no orchestrator starts another",
    ),
)
