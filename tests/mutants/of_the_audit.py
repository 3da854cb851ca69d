"""Mistakes about what an audit and an explanation say of what is stored."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_SELECTION = "consumer/commands/replay/selection.py"
_EVENT_COUNTS = "consumer/commands/audit/event_counts.py"
_JUDGING = "tests/unit/commands/audit/test_judging.py::"
_AUDIT = "tests/unit/commands/audit/test_audit.py::"
_EXPLAIN = "tests/unit/commands/test_explain.py::"

MUTANTS = (
    Mutant(
        "a document that is gone is unknown once letters have expired",
        "F45",
        "_judge_absent",
        "return _about(write, AuditResult.MISSING, detail)",
        """lost = AuditResult.UNKNOWN if dead_letter.expired else AuditResult.MISSING
return _about(write, lost, detail)""",
        (_JUDGING + "test_a_deleted_document_is_missing_though_letters_of_its_time_have_expired",),
        "one dead letter that expires would hide every loss before it",
    ),
    Mutant(
        "what an audit does not know is no finding",
        "F45",
        "PROBLEMS",
        "AuditResult.REPEATED, AuditResult.UNKNOWN)",
        "AuditResult.REPEATED)",
        (
            _JUDGING + "test_a_rejected_record_whose_letter_may_have_expired_is_unknown_"
            "found_and_emitted",
        ),
        "an audit that could not tell would end as if all were well",
    ),
    Mutant(
        "a letter of a conflict stands for the document that is gone",
        "F45",
        "_judge_absent",
        "if dead_letter.reason is None or dead_letter.reason is Reason.CONFLICT:",
        "if dead_letter.reason is None:",
        (_JUDGING + "test_a_letter_of_a_conflict_accounts_for_no_document_that_is_gone",),
        "after one replay over an altered document its deletion would go unnoticed",
    ),
    Mutant(
        "a letter explains that its own document differs",
        "F46",
        "judge_stored",
        "if fields:",
        "if fields and dead_letter.reason is not Reason.CONFLICT:",
        (
            _JUDGING + "test_an_altered_document_stays_altered_when_its_own_record_has_left_"
            "a_letter",
            _JUDGING + "test_an_altered_session_stays_altered_when_its_own_record_has_left_"
            "a_letter",
        ),
        "a plain replay over an altered document would hide the alteration for ever",
    ),
    Mutant(
        "letters of any group account for a record",
        "F46",
        "DeadLetterIndex._add",
        "if info is not None and info.group == self._group:",
        "if info is not None:",
        (_JUDGING + "test_letters_of_other_groups_explain_nothing",),
        "what another group rejected would pass for stored here",
    ),
    Mutant(
        "an audit looks at one of several documents",
        "F56",
        "_ExpectedDocument.judge",
        "if others:",
        "if not self._found:",
        (_JUDGING + "test_two_documents_of_one_identity_are_found_and_emitted",),
        "what a missing unique index let in would be found by nobody",
    ),
    Mutant(
        "a session is looked for where its key leads and nowhere else",
        "F54",
        "select_ranges.near",
        "selection.sessions) | set(came_from)",
        "selection.sessions)",
        (_AUDIT + "test_documents_say_where_else_to_look",),
        "a deleted document whose record lies under another key would be found by nobody",
    ),
    Mutant(
        "keys are taken to lead where records lie",
        "F54",
        "select_ranges",
        "or not await _keys_lead(reader, ranges):",
        ":",
        (_AUDIT + "test_after_partitions_were_added_a_deleted_session_is_found_where_it_lies",),
        "after partitions were added an audit of a session would pass over its first records",
    ),
    Mutant(
        "nothing where a key leads is nothing anywhere",
        "F54",
        "Auditor.run",
        "if self._unseen and left_out:",
        "if not self._unseen and left_out:",
        (_AUDIT + "test_where_nothing_lies_where_the_key_leads_every_partition_is_read",),
        "an audit would say that all is well of a session that it has not seen",
    ),
    Mutant(
        "a session without a record is well",
        "F54",
        "AuditReport.found",
        "return bool(self.not_read or self.not_in_the_log) or any(",
        "return bool(self.not_read) or any(",
        (_AUDIT + "test_a_session_without_a_record_is_no_all_clear",),
        "a misspelt id would be an audit that found nothing",
    ),
    Mutant(
        "a replay of a session without a record is done",
        "F54",
        "ReplayReport.exit_code",
        """if self.nothing_found:
    return ExitCode.FOUND""",
        "",
        (
            "tests/unit/commands/replay/test_replay_report.py::test_no_record_of_a_session_is_a_finding",
        ),
        "a session would be thought repaired of which nothing was read",
    ),
    Mutant(
        "an explanation ends where the key leads",
        "F54",
        "find_session",
        "if not records and left_out:",
        "if records and left_out:",
        (_EXPLAIN + "test_what_was_deleted_is_missing_wherever_its_record_lies",),
        "an empty table would stand beside stored documents",
    ),
    Mutant(
        "topics of unequal numbers of partitions are refused",
        "F54",
        "_equal_partitions",
        "CheckResult.warning(",
        "CheckResult.failed(",
        (
            "tests/faults/kafka/test_client_membership.py::test_unequal_numbers_of_"
            "partitions_are_warned_of_and_are_no_reason_not_to_start",
        ),
        "an instance that is restarted between the alters of two topics would not come back",
    ),
    Mutant(
        "an audit compares what only a setting says",
        "F55",
        "judge_stored",
        "write.content.keys() - NOT_SAID)",
        "write.content.keys())",
        (_JUDGING + "test_another_retention_than_that_of_the_writes_is_no_alteration[90-30000]",),
        "with another retention every document would count as altered",
    ),
    Mutant(
        "events that the group has not read are missing ones",
        "F55",
        "Auditor._compare_counts",
        "if await self._counts.compare(now):",
        "if not await self._counts.compare(now):",
        (_AUDIT + "test_events_that_the_group_has_not_read_are_no_disagreement",),
        "every audit of a group with lag would raise false alarms",
    ),
    Mutant(
        "events that have expired are missing ones",
        "F55",
        "EventCounts.compare",
        "if stored < session.declared and _may_have_expired(session, now):",
        "if stored > session.declared and _may_have_expired(session, now):",
        (_AUDIT + "test_events_that_have_expired_are_no_disagreement[40-1]",),
        "every session longer than a moment would raise a false alarm before it expires",
    ),
    Mutant(
        "trouble of the database ends an audit",
        "F55",
        "LogJudge.judge.judge_batch",
        'judged = await retry_until("MongoDB", lambda: self._judge.judge(wanted), self.policy)',
        "judged = await self._judge.judge(wanted)",
        (
            _AUDIT + "test_trouble_of_either_server_that_passes_costs_an_audit_nothing",
            _EXPLAIN + "test_trouble_of_either_server_that_passes_costs_an_explanation_nothing",
        ),
        "an audit of hours would end without a table at the first fail-over",
    ),
    Mutant(
        "trouble of the brokers ends an audit",
        "F55",
        "read_over_outages",
        "while item := await retry_until(server, read_next, policy):",
        "while item := await read_next():",
        (_AUDIT + "test_trouble_of_either_server_that_passes_costs_an_audit_nothing",),
        "an audit of hours would end without a table when the brokers are rolled",
    ),
    Mutant(
        "what is older than the retention is not looked at",
        "F55",
        "_EVEN_IF_OVER",
        "_EVEN_IF_OVER = (AuditResult.APPLIED, AuditResult.ALTERED)",
        "_EVEN_IF_OVER = ()",
        (
            _JUDGING + "test_what_a_shorter_retention_would_have_skipped_is_compared_where_"
            "it_is_stored",
        ),
        "with a shorter retention in its settings an audit would pass over alterations",
    ),
    Mutant(
        "an interrupted transcript begins anew",
        "F55",
        "_events.found",
        "lambda: reader.events(session_id, last), policy",
        "lambda: reader.events(session_id), policy",
        (_EXPLAIN + "test_trouble_between_two_events_costs_none_and_repeats_none",),
        "a session would seem to have said things twice",
    ),
    Mutant(
        "an audit of events reads whole sessions",
        "F69",
        "judging._SESSION_FIELDS",
        "judged_session_fields(ActivityWrite(",
        '("metadata",) + judged_session_fields(ActivityWrite(',
        (_JUDGING + "test_an_audit_reads_of_sessions_what_it_judges_and_never_too_many_at_once",),
        "an audit of a few events would take more memory than there is",
    ),
    Mutant(
        "letters under other keys are not explained",
        "F90",
        "_find_dead_letters",
        "(info.origin in origins or wanted.matches(record)):",
        "record.key in wanted._session_bytes:",
        (_EXPLAIN + "test_letters_under_other_keys_belong_to_the_session_they_are_about",),
        "what was rejected under another key would seem never to have come",
    ),
)
