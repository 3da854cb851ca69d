"""Users of a cluster and what they may do, given and taken away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._acl import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
)
from confluent_kafka.admin._resource import ResourcePatternType, ResourceType
from confluent_kafka.admin._scram import (
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

ITERATIONS = 4096
SECONDS = 20.0
ANY_HOST = "*"


class Access:
    """What one user may do, by an administrator who may do all.

    A user stays until the cluster goes: Kafka 4.4 forgets the credentials of others, which were
    there from the first, when it starts again after some were deleted.
    """

    def __init__(self, bootstrap_servers: str, user: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
        self._user = user

    async def password(self, password: str) -> None:
        """Let the user log in with this password, and no other."""
        credentials = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS)
        change = UserScramCredentialUpsertion(self._user, credentials, password.encode())
        await _done(self._admin.alter_user_scram_credentials, [change])

    async def allow(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        """Let the user do this."""
        await _done(self._admin.create_acls, [self._rule(kind, name, one) for one in operations])

    async def forbid(self, kind: ResourceType, name: str) -> None:
        """Take everything back that was allowed with this."""
        rule = AclBindingFilter(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{self._user}",
            ANY_HOST,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        await _done(self._admin.delete_acls, [rule])

    def _rule(self, kind: ResourceType, name: str, operation: AclOperation) -> AclBinding:
        return AclBinding(
            kind,
            name,
            ResourcePatternType.LITERAL,
            f"User:{self._user}",
            ANY_HOST,
            operation,
            AclPermissionType.ALLOW,
        )


async def _done(ask: Callable[[list[Any]], Mapping[Any, Future[Any]]], changes: list[Any]) -> None:
    for answer in ask(changes).values():
        await asyncio.to_thread(answer.result, SECONDS)
