"""Secrets that hands name: where they are kept, and how they get into a request."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from gateway.calls import HandCall, HandResult, Injections
from gateway.reach import SecretUse


@dataclass(frozen=True, slots=True)
class SecretValue:
    """A secret's value as its store has it now. It is never shown and never serialised.

    Attributes:
        version: what its store calls this value. It says nothing about the value.
    """

    value: str = field(repr=False)
    version: str

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("a secret is not serialised")


class SecretStore(Protocol):
    """A place where secrets are kept, each under a tenant and a name. One contract for all: ``tests/secrets``."""

    async def read(self, tenant: str, name: str) -> SecretValue:
        """The value as it is now.

        Raises:
            Refused: ``secret.missing`` where the store says that there is none, or that it is not what it was.
            Unavailable: ``secret.unavailable`` where the store does not say.
        """

    async def close(self) -> None:
        """Close connections."""


class PersonalTokens(Protocol):
    """Access tokens that people let the gateway have at a connection, each for themselves."""

    async def token(self, tenant: str, subject: str, connection: str) -> SecretValue:
        """The token of one person as it is now, refreshed where its time is nearly over.

        Args:
            subject: the person's pseudonym.

        Raises:
            Refused: ``connection.needed`` where the person has to consent, first or again; ``secret.missing`` where
                the tenant has no such connection.
            Unavailable: ``connection.unavailable``; ``log.unavailable``.
        """


@dataclass(frozen=True, slots=True)
class Target:
    """Where a request goes. ``host`` is ASCII, as it is dialled; ``path`` is percent-encoded, as it is sent. Without
    method and path it is a request that nothing is known of but where it goes."""

    scheme: str
    host: str
    port: int
    method: str = ""
    path: str = ""

    @property
    def origin(self) -> str:
        """``scheme://host:port``, as manifests name targets."""
        host = self.host.lower()
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host}:{self.port}"


class SecretStep(Protocol):
    """One call under way, and the secrets that it was given."""

    async def inject(self, target: Target) -> Injections:
        """What the manifest puts into a request to ``target``; nothing where it names another target. That it is given
        is on record before this returns.

        Raises:
            Refused: ``secret.missing``; ``connection.needed``.
            Unavailable: ``secret.unavailable``, ``connection.unavailable``; ``log.unavailable``.
        """

    def clean(self, text: str) -> str:
        """``text`` without the secrets that the call was given."""

    async def search(self, text: str) -> str:
        """``text``, which came back from outside, without them; that it held one is on record before this returns.

        Raises:
            Unavailable: ``log.unavailable``.
        """

    async def answer(self, result: HandResult) -> HandResult:
        """``result`` without them; that it held one is on record before this returns.

        Raises:
            Refused: ``hand.result_too_large``: the result was not read to its end, and one of them is so long that its
                half could stand there.
            Unavailable: ``log.unavailable``.
        """


class Secrets(Protocol):
    """Gives the secrets of pinned manifests to requests, and to nothing else."""

    async def named(self, tenant: str, uses: Sequence[SecretUse]) -> Sequence[Mapping[str, str]]:
        """Of a call that is about to go on record: the facts of those uses that are ``sure``, as far as their stores
        give the values at once. On record with the call's intent (``HandCall.secrets_named``), they need no entry of
        their own; of what is missing here, :meth:`SecretStep.inject` makes one, or says what is wrong."""

    def serving(self, call: HandCall, uses: Sequence[SecretUse]) -> AbstractAsyncContextManager[SecretStep]:
        """The call for as long as it runs; a step is served in the block, and at no other time.

        Args:
            uses: of the manifest that the call was decided on.
        """

    async def inject(self, hand: str, plan_id: str, step_id: str, target: Target) -> Injections:
        """See :meth:`SecretStep.inject`: for a proxy that is asked for a connection by a hand's jail, and knows the
        step by the credential that it holds.

        Raises:
            Refused: ``secret.missing`` also where this process runs no such step on that hand.
        """
