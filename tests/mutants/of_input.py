"""Mistakes about records that hold what nobody would send on purpose."""

from __future__ import annotations

from tests.mutants.mutant import mutant, never

MUTANTS = (
    mutant(
        "a tombstone is a message",
        "decode.decode",
        "return Tombstone()",
        'return Rejected(Reason.UNDECODABLE, "no value")',
        "a topic that somebody compacted would fill the dead-letter topic",
        "test_tombstones_are_skipped_and_keys_that_say_nothing_do_no_harm",
    ),
    mutant(
        "a byte order mark is passed over",
        "_parse_leniently",
        "data.decode()",
        'data.decode("utf-8-sig")',
        "the contract is one encoding, and the next reader takes none but it",
        "test_what_is_not_one_json_object_in_utf8_is_undecodable",
    ),
    mutant(
        "what follows the object is passed over",
        "_parse_leniently",
        "return _LENIENT.decode(data.decode())",
        "return _LENIENT.raw_decode(data.decode())[0]",
        "of two messages in one record the second would be lost",
        "test_what_is_not_one_json_object_in_utf8_is_undecodable",
    ),
    never(
        "an id may hold NUL",
        "identifier_problem",
        'if "\\0" in value:',
        "no index key can hold it on every server",
        "test_nul_is_refused_in_names_and_ids_and_kept_in_text",
    ),
    mutant(
        "any size is storable",
        "bson_limits.encode",
        "if len(encoded) > max_bytes:",
        "if len(encoded) > max_bytes * 2:",
        "the whole command would be refused with it",
        "test_what_is_larger_than_a_document_may_be_is_unstorable",
    ),
    mutant(
        "ids are trimmed",
        "event_write",
        '"sessionId": session_id,',
        '"sessionId": session_id.strip(),',
        "two sessions would become one",
        "test_ids_are_kept_as_they_are_and_told_apart_by_their_bytes",
    ),
    mutant(
        "the first of two equal names counts",
        "parse_quickly",
        "return from_json(data, allow_inf_nan=False)",
        "return _LENIENT.__class__(object_pairs_hook=lambda x: dict(x[::-1])).decode(data.decode())",
        "producers and other readers of the topic would see another message",
        "test_bad_input.py::test_of_a_name_that_stands_twice_the_last_one_counts",
    ),
    mutant(
        "unknown fields are refused",
        "_Fields.message",
        'event_id = self._id("eventId")',
        """event_id = self._id("eventId")
if len(self._fields) > 9:
    self._problems.append("unknown fields")""",
        "a producer could add no field before every consumer knew it",
        "test_unknown_fields_are_ignored_whatever_they_hold",
        rows="B14",
    ),
    mutant(
        "what is there already is a conflict",
        "classify_duplicate",
        "if differing:",
        "if fields:",
        "every producer that retries would fill the dead-letter topic",
        "test_the_same_event_again_changes_nothing",
    ),
    never(
        "ids of any length and none",
        "identifier_problem",
        "if not 1 <= len(value) <= MAX_ID_CODE_POINTS:",
        "an index key of megabytes is refused with the command it travels in",
        "test_a_session_id_that_is_no_short_text_is_invalid",
    ),
)
