"""Mistakes about records that hold what nobody would send on purpose."""

from __future__ import annotations

from tests.mutants.mutant import mutant

_INPUT = "tests/faults/input/test_bad_input.py::"

MUTANTS = (
    mutant(
        "a tombstone is a message",
        "B1",
        "decode.decode",
        "return Tombstone()",
        'return Rejected(Reason.UNDECODABLE, "no value")',
        "a topic that somebody compacted would fill the dead-letter topic",
        _INPUT + "test_tombstones_are_skipped_and_keys_that_say_nothing_do_no_harm",
    ),
    mutant(
        "a byte order mark is passed over",
        "B3",
        "_parse_leniently",
        "data.decode()",
        'data.decode("utf-8-sig")',
        "the contract is one encoding, and the next reader takes none but it",
        _INPUT + "test_what_is_not_one_json_object_in_utf8_is_undecodable",
    ),
    mutant(
        "what follows the object is passed over",
        "B3",
        "_parse_leniently",
        "return _LENIENT.decode(data.decode())",
        "return _LENIENT.raw_decode(data.decode())[0]",
        "of two messages in one record the second would be lost",
        _INPUT + "test_what_is_not_one_json_object_in_utf8_is_undecodable",
    ),
    mutant(
        "an id may hold NUL",
        "B5",
        "identifier_problem",
        'if "\\0" in value:',
        "if False:",
        "no index key can hold it on every server",
        _INPUT + "test_nul_is_refused_in_names_and_ids_and_kept_in_text",
    ),
    mutant(
        "any size is storable",
        "B9",
        "bson_limits.encode",
        "if len(encoded) > max_bytes:",
        "if len(encoded) > max_bytes * 2:",
        "the whole command would be refused with it",
        _INPUT + "test_what_is_larger_than_a_document_may_be_is_unstorable",
    ),
    mutant(
        "ids are trimmed",
        "B12",
        "event_write",
        '"sessionId": session_id,',
        '"sessionId": session_id.strip(),',
        "two sessions would become one",
        _INPUT + "test_ids_are_kept_as_they_are_and_told_apart_by_their_bytes",
    ),
    mutant(
        "the first of two equal names counts",
        "B13",
        "parse_quickly",
        "return from_json(data, allow_inf_nan=False)",
        "return _LENIENT.__class__(object_pairs_hook=lambda x: dict(x[::-1])).decode(data.decode())",
        "producers and other readers of the topic would see another message",
        _INPUT + "test_of_a_name_that_stands_twice_the_last_one_counts",
    ),
    mutant(
        "unknown fields are refused",
        "B14",
        "_Fields.message",
        'event_id = self._id("eventId")',
        """event_id = self._id("eventId")
if len(self._fields) > 9:
    self._problems.append("unknown fields")""",
        "a producer could add no field before every consumer knew it",
        "tests/unit/contract/test_decode.py::test_unknown_fields_are_ignored_whatever_they_hold",
    ),
    mutant(
        "what is there already is a conflict",
        "B16",
        "classify_duplicate",
        "if differing:",
        "if fields:",
        "every producer that retries would fill the dead-letter topic",
        _INPUT + "test_the_same_event_again_changes_nothing",
    ),
    mutant(
        "ids of any length and none",
        "B11",
        "identifier_problem",
        "if not 1 <= len(value) <= MAX_ID_CODE_POINTS:",
        "if False:",
        "an index key of megabytes is refused with the command it travels in",
        _INPUT + "test_a_session_id_that_is_no_short_text_is_invalid",
    ),
)
