"""The ``remote`` adapter: hands that come for their steps themselves, from machines that the gateway cannot reach.

Nothing is sent to such a hand. Its steps are offered (``gateway.stages.offer``), it claims one at ``POST /v1/token``
and returns the result (``gateway.remote_steps``). What it offers is what the operator declared.
"""

from typing import ClassVar

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import HandSettings, SettingsError
from hand_adapters import annotate
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail


class RemoteAdapter:
    """One remote hand. It runs no code here, connects to nothing and discovers nothing."""

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._manifest = annotate.declared(hand_id, settings)

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration.

        Raises:
            SettingsError: no action, a bad schema, or a place to call or secrets to send, where nobody calls.
        """
        if not settings.actions:
            raise SettingsError(f"hands.{hand_id}: a remote hand needs actions: it is asked nothing")
        if settings.base_url is not None or settings.command is not None:
            raise SettingsError(f"hands.{hand_id}: a remote hand has neither base_url nor command: it is not called")
        if settings.secrets:
            raise SettingsError(f"hands.{hand_id}: a remote hand is sent no secrets: it has its own")
        annotate.declared(hand_id, settings)

    async def manifest(self) -> Manifest:
        """The declared actions. Asks nobody."""
        return self._manifest

    async def run(self, call: HandCall) -> HandResult:
        """Nobody calls a remote hand.

        Raises:
            HandError: ``hand.unavailable``, not executed.
        """
        raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, f"{call.hand} is remote: it is not called")

    async def close(self) -> None:
        """There is nothing to close."""
