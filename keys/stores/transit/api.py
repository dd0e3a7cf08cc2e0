"""The calls of Transit that are used, and what its answers mean (OpenBao's HTTP API, ``/v1/MOUNT/...``)."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.canonical import parse
from gateway.errors import Refused
from keys.errors import KeyStoreAway, KeyUnavailable
from keys.stores.transit.http import Answer, Http
from keys.stores.transit.login import Login

_SAID_MAX: Final = 200
_GOOD: Final = frozenset({200, 204})


class RequestRefused(KeyUnavailable):
    """Transit does not do what it was asked for (400): a key that is not there, a version that is not allowed, a
    ciphertext that does not open."""


class Transit:
    """A Transit engine's server, as one of its callers sees it.

    Args:
        namespace: ``X-Vault-Namespace``; ``None`` for the root.
    """

    def __init__(self, http: Http, login: Login, namespace: str | None = None) -> None:
        self._http, self._login = http, login
        self._namespace = {} if namespace is None else {"X-Vault-Namespace": namespace}
        self.where = http.where

    def read(self, path: str) -> Mapping[str, Any] | None:
        """What lies at a path; ``None`` where the engine says that there is nothing.

        Raises:
            KeyUnavailable: it cannot be asked, or does not say: a path that leads to no engine is not an empty one.
        """
        answer = self._ask("GET", path, None)
        if answer.status == 404 and _errors(answer) == []:
            return None
        return self._data(answer, path)

    def write(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Post to a path; returns the answer's data. Raises ``KeyUnavailable``, :class:`RequestRefused` among them."""
        return self._data(self._ask("POST", path, body), path)

    def delete(self, path: str) -> None:
        """Delete what lies at a path. Raises ``KeyUnavailable``, :class:`RequestRefused` among them."""
        self._data(self._ask("DELETE", path, None), path)

    def lacks(self, needed: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """Which of the needed rights this caller does not have, as ``right path``.

        Args:
            needed: path -> capabilities.
        """
        said = self.write("sys/capabilities-self", {"paths": list(needed)})
        lacking = []
        for path, rights in needed.items():
            has = said.get(path)
            if not isinstance(has, list):
                raise KeyUnavailable(f"{self.where}: it does not say what may be done at {path}")
            lacking += [f"{right} {path}" for right in rights if right not in has and "root" not in has]
        return lacking

    def close(self) -> None:
        """Let go of the connections that are kept."""
        self._http.close()

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None) -> Answer:
        token = self._login.token()
        answer = self._send(method, path, body, token)
        if answer.status == 403 and self._login.replaced(token):
            answer = self._send(method, path, body, self._login.token())
        return answer

    def _send(self, method: str, path: str, body: Mapping[str, Any] | None, token: str) -> Answer:
        headers = {"X-Vault-Token": token, "X-Vault-Request": "true", "Accept": "application/json", **self._namespace}
        content = b"" if body is None else orjson.dumps(body)
        return self._http.exchange(method, f"/v1/{path}", headers, content)

    def _data(self, answer: Answer, path: str) -> Mapping[str, Any]:
        if answer.status not in _GOOD:
            said = "; ".join(" ".join(str(one).split()) for one in _errors(answer) or ())
            text = f"{self.where}: {path}: {answer.status}{' ' if said else ''}{_printable(said)}"
            if answer.status == 429 or answer.status >= 500:
                raise KeyStoreAway(text)
            raise (RequestRefused if answer.status == 400 else KeyUnavailable)(text)
        if not answer.body:
            return {}
        try:
            document = parse(answer.body)
        except Refused:
            document = None
        if not isinstance(document, dict) or not isinstance(data := document.get("data") or {}, dict):
            raise KeyUnavailable(f"{self.where}: {path}: its answer is not Transit's")
        return data


def _errors(answer: Answer) -> list[object] | None:
    """The server's own words; ``None`` where it is no server of this API that answers."""
    try:
        document = parse(answer.body)
    except Refused:
        return None
    errors = document.get("errors") if isinstance(document, dict) else None
    return errors if isinstance(errors, list) else None


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text)[:_SAID_MAX]
