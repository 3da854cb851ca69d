"""Mistakes about what a record says, and what is told of one that says nothing usable."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_CONTRACT = "tests/unit/contract/"
_STORABLE = "tests/unit/state/test_bson_limits.py::"
_INPUT = "tests/faults/input/test_bad_input.py::"
_FAST_PATH = ("tests/unit/state/test_fast_path.py::test_what_is_not_in_order_goes_the_slow_way",)

MUTANTS = (
    Mutant(
        "only -1 is no timestamp",
        "F51 B22",
        "usable_time",
        "if timestamp_ms is None or timestamp_ms < 0:",
        "if timestamp_ms is None or timestamp_ms == -1:",
        (
            _CONTRACT + "test_decode_times.py::test_without_any_usable_time_a_message_is_invalid",
            _CONTRACT + "test_record_time.py::"
            "test_a_usable_timestamp_lies_between_the_epoch_and_the_year_9999",
        ),
        "what was never stamped would be stored as of 1969, or of the year 1",
    ),
    Mutant(
        "seconds are believed to be milliseconds",
        "F50",
        "Retention._believed_time",
        "if stamped is None or stamped < FIRST_TIME or",
        "if stamped is None or",
        (
            "tests/unit/state/test_retention.py::"
            "test_a_timestamp_that_cannot_be_right_decides_nothing",
            "tests/unit/engine/test_pipeline.py::"
            "test_a_record_whose_timestamp_cannot_be_right_is_stored_and_counted",
        ),
        "all that a producer with a wrong clock says would be thrown away without a word",
    ),
    Mutant(
        "a record may be older than its topic keeps any",
        "F50",
        "Retention._believed_time",
        "if age is not None and now - stamped > age and not is_redriven(record):",
        "if False:",
        (
            "tests/unit/state/test_retention.py::"
            "test_a_record_is_not_as_old_as_its_topic_would_have_deleted_it",
        ),
        "all that a producer whose clock is behind says would be thrown away without a word",
    ),
    Mutant(
        "what is skipped for its age looks like a tombstone",
        "F50",
        "pipeline._planned",
        "return Result(Outcome.SKIPPED), marks | Mark.EXPIRED",
        "return Result(Outcome.SKIPPED), marks",
        ("tests/unit/engine/test_pipeline.py::test_a_record_older_than_what_is_kept_is_skipped",),
        "nobody would see that a backlog is older than what is kept",
    ),
    Mutant(
        "a value is read however many parts it has",
        "F71",
        "parse_object",
        "if _has_too_many_parts(data):",
        "if False:",
        (
            "tests/unit/contract/test_decode.py::"
            "test_more_parts_than_a_document_can_hold_are_unstorable",
        ),
        "a record that compresses into a megabyte would take gigabytes to be refused",
    ),
    Mutant(
        "what stands in texts counts as parts of a document",
        "F71",
        "least_bson_bytes",
        "least += _least_bytes(_A_STRING.join(pieces[inside::2]))",
        "least += _least_bytes(_A_STRING.join(pieces))",
        (
            "tests/unit/contract/test_json_text.py::"
            "test_what_a_large_text_holds_is_no_part_of_a_document",
        ),
        "a long text that quotes JSON could not be stored",
    ),
    Mutant(
        "a value is read however large it is",
        "F71",
        "decode.decode",
        "if record.value is not None and len(record.value) > max_value_bytes:",
        "if False:",
        (
            "tests/unit/contract/test_decode.py::"
            "test_a_value_larger_than_may_be_read_is_refused_unread",
        ),
        "a setting that is to save memory would save none",
    ),
    Mutant(
        "only the number of records gives the event loop its turn",
        "F71",
        "Pipeline._plan",
        "or bytes_since > DECODED_BYTES_AT_ONCE:",
        ":",
        (
            "tests/unit/engine/test_pipeline.py::"
            "test_decoding_large_records_leaves_the_event_loop_a_turn_between_them",
        ),
        "two hundred records of a megabyte would be decoded without a heartbeat",
    ),
    Mutant(
        "the time is taken from the clock",
        "B15 B22 F2",
        "_Fields._time",
        "instant = record_time(self._record)",
        """instant = __import__("consumer.contract.times").contract.times.time_from_ms(
    __import__("time").time_ns() // 1_000_000
)""",
        (
            _CONTRACT + "test_decode_times.py::test_a_missing_time_is_that_of_the_record",
            "tests/faults/kafka/test_odd_batches.py::"
            "test_a_timestamp_that_is_none_does_not_stand_in_for_a_missing_one",
        ),
        "a redelivery would write other bytes, and become a conflict with itself",
    ),
    Mutant(
        "a time that cannot be read is replaced",
        "B15",
        "_Fields._time",
        "instant = parse_time(written) if isinstance(written, str) else None",
        "instant = (parse_time(written) if isinstance(written, str) else None) or EPOCH",
        (
            _CONTRACT + "test_decode_times.py::test_a_time_that_cannot_be_read_is_never_replaced",
            _INPUT + "test_times_are_rfc_3339_or_invalid",
            _INPUT + "test_a_number_is_no_time",
        ),
        "what is stored would contradict its sender",
    ),
    Mutant(
        "milliseconds are rounded",
        "B15",
        "parse_time.surplus",
        "surplus = local.microsecond % 1000",
        "surplus = (local.microsecond + 500) % 1000 - 500",
        (_CONTRACT + "test_times.py::test_a_time_is_read_in_utc_at_milliseconds",),
        "an event would be stored later than it happened",
    ),
    Mutant(
        "types are coerced",
        "B11 B14",
        "_Fields._typed",
        "if type(value) is not kind:",
        "if not isinstance(value, kind):",
        (_CONTRACT + "test_decode_fields.py::test_a_count_is_nothing_else",),
        "a value would be stored that nobody sent",
    ),
    Mutant(
        "true is a version",
        "B14",
        "_message",
        "if version is not None and not (type(version) is int and version == SCHEMA_VERSION):",
        "if version is not None and version != SCHEMA_VERSION:",
        (_CONTRACT + "test_decode.py::test_a_version_that_is_no_positive_integer_is_invalid",),
        "to Python true is 1",
    ),
    Mutant(
        "integers become floats",
        "B7",
        "parse_quickly",
        "return from_json(data, allow_inf_nan=False)",
        "return _LENIENT.__class__(parse_int=float).decode(data.decode())",
        (
            _CONTRACT + "test_json_text.py::test_an_integer_is_exact_and_never_a_float",
            _INPUT + "test_nan_is_undecodable_and_no_number_loses_precision",
        ),
        "large ones would lose their last digits without a word",
    ),
    Mutant(
        "NaN is a number",
        "B7",
        "_refuse_constant",
        'raise NotAnObjectError("not JSON: NaN or Infinity")',
        "return",
        (_CONTRACT + "test_json_text.py::test_what_is_not_one_json_object_is_refused",),
        "it is no JSON, and equals nothing, not even itself",
    ),
    Mutant(
        "half an emoji makes a record unreadable",
        "B4",
        "parse_object",
        "value = _parse_leniently(data)",
        'raise NotAnObjectError("not JSON") from None',
        (
            _CONTRACT + "test_json_text.py::test_an_unpaired_surrogate_is_read",
            _INPUT + "test_unpaired_surrogates_are_refused_wherever_they_stand",
        ),
        "nobody would be told which field is wrong, nor that the rest of the message is in order",
    ),
    Mutant(
        "a number of thousands of digits is rounded",
        "B7",
        "_may_hold_long_number",
        "return _LONG_NUMBER[::_SAMPLE][1:] in samples",
        "return False and _LONG_NUMBER[::_SAMPLE][1:] in samples",
        (
            _CONTRACT
            + "test_json_text.py::test_a_fraction_with_thousands_of_digits_cannot_be_stored",
        ),
        "what is stored would not be what was said",
    ),
    Mutant(
        "what BSON refuses is found out on the way",
        "B4 B6",
        "_REFUSALS",
        "_REFUSALS = (BSONError, OverflowError, RecursionError, TypeError, ValueError)",
        "_REFUSALS = (BSONError,)",
        (
            _STORABLE + "test_what_bson_cannot_hold_is_unstorable_and_no_value_is_quoted",
            _INPUT + "test_unpaired_surrogates_are_refused_wherever_they_stand",
            _INPUT + "test_numbers_that_bson_cannot_hold_are_unstorable_alone",
        ),
        "one integer would fail the whole command its record travels in",
    ),
    Mutant(
        "any depth is storable",
        "B8",
        "bson_limits.encode",
        "if _may_hide_a_problem(encoded):",
        "if False:",
        (
            _STORABLE + "test_one_level_more_is_not_and_no_depth_exhausts_the_stack",
            _INPUT + "test_no_depth_breaks_more_than_its_record",
        ),
        "the server refuses the command, and with it records that are in order",
    ),
    Mutant(
        "a media type is known by its beginning",
        "B14",
        "mode_of",
        "return Mode.STRUCTURED if media_types == {_STRUCTURED_JSON} else Mode.UNREADABLE",
        "return Mode.STRUCTURED",
        (_CONTRACT + "test_cloudevents.py::test_another_format_of_cloudevents_is_undecodable",),
        "of a batch of events the first would be stored, or none",
    ),
    Mutant(
        "headers of an earlier failure stay",
        "B21",
        "dead_letter.headers",
        "headers = _without(record.headers, NAMES)",
        "headers = record.headers",
        (
            _CONTRACT
            + "test_dead_letter.py::test_whatever_the_record_brought_along_ours_stand_once",
        ),
        "a letter would tell of two failures and of two origins",
    ),
    Mutant(
        "an endless counter begins anew",
        "B21",
        "dead_letter.said",
        "str(min(attempt_of(record.headers) + 1, MAX_ATTEMPT))",
        "str(attempt_of(record.headers) + 1)",
        (_CONTRACT + "test_dead_letter.py::test_the_attempts_are_counted",),
        "what never succeeds would never be parked",
    ),
    Mutant(
        "any key is the right one",
        "B2",
        "decode.mismatch",
        "mismatch = record.key != message.session_id.encode()",
        "mismatch = False",
        (
            _CONTRACT + "test_decode.py::test_a_key_that_is_not_the_session_id_can_be_refused",
            _INPUT + "test_a_key_that_differs_is_applied_or_dead_lettered_as_the_policy_says",
        ),
        "who keys wrongly loses the order within a session, and would never hear of it",
    ),
    Mutant(
        "the fast way takes a payload of any type",
        "B14",
        "plan_event_quickly",
        "or not isinstance(payload, dict)",
        "or payload is None",
        _FAST_PATH,
        "a value would be stored that the contract refuses",
    ),
    Mutant(
        "the fast way takes true for a version",
        "B14",
        "plan_event_quickly",
        "(type(version) is int and version == SCHEMA_VERSION)",
        "version == SCHEMA_VERSION",
        _FAST_PATH,
        "to Python true is 1",
    ),
    Mutant(
        "the fast way asks for no key",
        "B2",
        "plan_event_quickly",
        "or key != session_id.encode()",
        "or False",
        (
            *_FAST_PATH,
            "tests/unit/engine/test_pipeline.py::test_another_key_is_counted_or_refused",
        ),
        "records that the policy refuses would be applied, and none of them counted",
    ),
    Mutant(
        "the fast way keeps every event for ever",
        "F50",
        "plan_event_quickly",
        "payload, timestamp, origin, expire_at)",
        "payload, timestamp, origin, None)",
        (
            "tests/unit/state/test_fast_path.py::test_an_ordinary_event_is_planned_fast_and_as_slowly",
        ),
        "documents would outlive what the settings promise",
    ),
    Mutant(
        "the fast way does not say that a time is the record's",
        "B15 B22",
        "plan_event_quickly",
        "defaulted=written is None",
        "defaulted=False",
        (
            "tests/unit/state/test_fast_path.py::test_an_ordinary_event_is_planned_fast_and_as_slowly",
        ),
        "a relayed copy without a time of its own would be a conflict",
    ),
    Mutant(
        "the fast way reads a value of any size",
        "F71",
        "plan_event_quickly",
        "or len(value) > max_value_bytes",
        "or False",
        (
            "tests/unit/state/test_fast_path.py::"
            "test_a_value_larger_than_may_be_read_goes_the_slow_way",
        ),
        "the setting would bound nothing",
    ),
    Mutant(
        "the fast way takes a CloudEvent of a later version",
        "B14",
        "_cloud_event_fields",
        "or version not in (None, SCHEMA_VERSION)",
        "or False",
        _FAST_PATH,
        "a message of another schema would be guessed at",
    ),
)
