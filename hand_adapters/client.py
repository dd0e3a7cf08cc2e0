"""The ``client`` adapter: tools that whoever asks runs itself, such as the shell of a coding agent.

Nothing is sent to such a hand. Its steps are decided and let go (``gateway.stages.release``), and the client says
afterwards what came of them (``gateway.client_steps``). What it offers is what the operator declared, a closed list.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from gateway.calls import HandCall, HandResult
from gateway.manifest import Manifest
from gateway.ports import HandFailure
from gateway.reasons import Reason
from gateway.settings import ActionSettings, HandSettings, SettingsError
from hand_adapters import annotate
from hand_adapters.contract import HandError
from hand_adapters.jail import Jail

_ANYTHING: Final[Mapping[str, Any]] = {"type": "object", "additionalProperties": True}


class ClientAdapter:
    """One kind of client. It runs no code here, connects to nothing and discovers nothing."""

    needs_jail: ClassVar[bool] = False

    def __init__(self, hand_id: str, settings: HandSettings, jail: Jail) -> None:  # noqa: ARG002
        self.id = hand_id
        self.notes: tuple[str, ...] = ()
        self._manifest = _manifest(hand_id, settings)

    @classmethod
    def validate(cls, hand_id: str, settings: HandSettings) -> None:
        """Check the declaration.

        Raises:
            SettingsError: no action, a bad schema, or a place to call, secrets or a jail, where nothing is called.
        """
        if not settings.actions:
            raise SettingsError(f"hands.{hand_id}: a client's hand needs actions: what is not listed is denied")
        if settings.base_url is not None or settings.command is not None:
            raise SettingsError(f"hands.{hand_id}: the client runs it, so it has neither base_url nor command")
        if settings.secrets:
            raise SettingsError(f"hands.{hand_id}: the client runs it, and is sent no secrets")
        _manifest(hand_id, settings)

    async def manifest(self) -> Manifest:
        """The declared actions. Asks nobody."""
        return self._manifest

    async def run(self, call: HandCall) -> HandResult:
        """Nobody here runs what the client runs.

        Raises:
            HandError: ``hand.unavailable``, not executed.
        """
        raise HandError(Reason.HAND_UNAVAILABLE, HandFailure.NOT_EXECUTED, f"{call.hand} is run by its client")

    async def close(self) -> None:
        """There is nothing to close."""


def _manifest(hand_id: str, settings: HandSettings) -> Manifest:
    """An action without a schema takes any object: what the client's own tool takes, the client checks."""

    def schemas(_name: str, word: ActionSettings) -> tuple[Any, Any]:
        return (_ANYTHING if word.args_schema is None else word.args_schema, None)

    return annotate.declared(hand_id, settings, schemas=schemas)
