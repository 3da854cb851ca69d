"""What ``check`` makes of the privileges that a server tells of the user who is logged in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from consumer.checks import CheckStatus
from consumer.mongo.preflight import check_grants
from consumer.settings.model import MongoSettings

SETTINGS = MongoSettings()
DATABASE, SESSIONS, EVENTS = SETTINGS.database, SETTINGS.sessions, SETTINGS.events
ALL = ["find", "insert", "update", "createIndex", "listIndexes"]


def told(*privileges: tuple[Mapping[str, Any], Sequence[str]]) -> Mapping[str, Any]:
    return {
        "authInfo": {
            "authenticatedUsers": [{"user": "consumer", "db": "admin"}],
            "authenticatedUserRoles": [],
            "authenticatedUserPrivileges": [
                {"resource": resource, "actions": list(actions)} for resource, actions in privileges
            ],
        }
    }


def on(collection: str, database: str = DATABASE) -> Mapping[str, Any]:
    return {"db": database, "collection": collection}


@pytest.mark.parametrize(
    "privileges",
    [
        [(on(SESSIONS), ALL), (on(EVENTS), ALL)],
        [(on(""), ALL)],
        [(on("", ""), ALL)],
        [({"anyResource": True}, ALL)],
        [({"anyResource": True}, ["anyAction"])],
        [(on(""), ["find", "createIndex"]), (on(""), ["insert"]), (on(""), ["update"])],
    ],
)
def test_whoever_may_write_to_both_collections_is_told_so(privileges: Any) -> None:
    results = check_grants(SETTINGS, told(*privileges))
    assert [(r.name, r.status) for r in results] == [
        (f"writing to {SESSIONS}", CheckStatus.OK),
        (f"writing to {EVENTS}", CheckStatus.OK),
    ]


@pytest.mark.parametrize(
    "elsewhere",
    [on(EVENTS, "another"), on("another"), on("", "another"), {"cluster": True}],
    ids=str,
)
def test_a_privilege_on_something_else_is_none(elsewhere: Mapping[str, Any]) -> None:
    *_, events = check_grants(SETTINGS, told((on(SESSIONS), ALL), (elsewhere, ALL)))
    assert (events.status, events.detail) == (
        CheckStatus.FAILED,
        "not authorized: find, insert, update",
    )
    assert events.fix == f"grant find, insert, update on {DATABASE}.{EVENTS}"


@pytest.mark.parametrize("action", ["find", "insert", "update"])
def test_each_action_that_a_run_needs_is_looked_for(action: str) -> None:
    others = [one for one in ALL if one != action]
    sessions, events = check_grants(SETTINGS, told((on(SESSIONS), others), (on(EVENTS), ALL)))
    assert (sessions.status, sessions.detail) == (CheckStatus.FAILED, f"not authorized: {action}")
    assert events.status is CheckStatus.OK


def test_who_may_not_make_indexes_is_warned_where_a_run_would_make_them() -> None:
    answer = told((on(""), ["find", "insert", "update"]))
    assert {r.status for r in check_grants(SETTINGS, answer)} == {CheckStatus.WARNING}
    without = SETTINGS.model_copy(update={"create_indexes": False})
    assert {r.status for r in check_grants(without, answer)} == {CheckStatus.OK}


def test_a_server_that_asks_nobody_to_log_in_has_no_grants() -> None:
    answer: Any = {"authInfo": {"authenticatedUsers": [], "authenticatedUserPrivileges": []}}
    (result,) = check_grants(SETTINGS, answer)
    assert (result.status, "nobody is logged in" in result.detail) == (CheckStatus.OK, True)


def test_a_server_that_tells_no_privileges_is_not_taken_for_one_that_allows_all() -> None:
    for answer in (told(), {"authInfo": {"authenticatedUsers": [{"user": "u", "db": "d"}]}}):
        (result,) = check_grants(SETTINGS, answer)
        assert result.status is CheckStatus.WARNING
        assert result.fix
