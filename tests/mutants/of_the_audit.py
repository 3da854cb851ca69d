"""Mistakes about what an audit and an explanation say of what is stored."""

from __future__ import annotations

from tests.mutants.mutant import Mutant

_ACCOUNTS = "consumer/operations/audit/accounts.py"
_JUDGING = "tests/unit/operations/audit/test_judging.py::"

MUTANTS = (
    Mutant(
        "a document that is gone is unknown once letters have expired",
        "F45",
        _ACCOUNTS,
        "        return _about(write, Account.MISSING, detail)\n",
        "        lost = Account.UNKNOWN if letter.expired else Account.MISSING\n"
        "        return _about(write, lost, detail)\n",
        (
            _JUDGING
            + "test_f45_a_deleted_document_is_missing_though_letters_of_its_time_have_expired",
        ),
        "one dead letter that expires would hide every loss before it",
    ),
    Mutant(
        "what an audit does not know is no finding",
        "F45",
        _ACCOUNTS,
        "Account.REPEATED, Account.UNKNOWN)\n",
        "Account.REPEATED)\n",
        (
            _JUDGING + "test_f45_a_rejected_record_whose_letter_may_have_expired_is_unknown_"
            "found_and_emitted",
        ),
        "an audit that could not tell would end as if all were well",
    ),
    Mutant(
        "a letter of a conflict stands for the document that is gone",
        "F45",
        _ACCOUNTS,
        "    if letter.reason is None or letter.reason is Reason.CONFLICT:\n",
        "    if letter.reason is None:\n",
        (_JUDGING + "test_f45_a_letter_of_a_conflict_accounts_for_no_document_that_is_gone",),
        "after one replay over an altered document its deletion would go unnoticed",
    ),
    Mutant(
        "a letter explains that its own document differs",
        "F46",
        _ACCOUNTS,
        "        if fields:\n",
        "        if fields and letter.reason is not Reason.CONFLICT:\n",
        (
            _JUDGING + "test_f46_an_altered_document_stays_altered_when_its_own_record_has_left_"
            "a_letter",
            _JUDGING + "test_f46_an_altered_session_stays_altered_when_its_own_record_has_left_"
            "a_letter",
        ),
        "a plain replay over an altered document would hide the alteration for ever",
    ),
    Mutant(
        "letters of any group account for a record",
        "F46",
        "consumer/operations/audit/letters.py",
        "            if info is not None and info.group == self._group:\n",
        "            if info is not None:\n",
        (_JUDGING + "test_f46_letters_of_other_groups_explain_nothing",),
        "what another group rejected would pass for stored here",
    ),
    Mutant(
        "an audit looks at one of several documents",
        "F45",
        _ACCOUNTS,
        "    if len(documents) > 1:\n",
        "    documents = documents[-1:]\n    if len(documents) > 1:\n",
        (_JUDGING + "test_f56_two_documents_of_one_identity_are_found_and_emitted",),
        "what a missing unique index let in would be found by nobody",
    ),
)
