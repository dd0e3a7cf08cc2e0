"""The URL of a hand that is an HTTP peer: what may be asked, and which host that is."""

from yarl import URL

from gateway.settings import SettingsError
from hand_adapters.dialer import is_literal, permitted


def checked(where: str, text: str | None, *, private_network: bool) -> URL:
    """A declared URL, as one that may be asked.

    Args:
        where: the setting that has it.

    Raises:
        SettingsError: it has credentials, a query or an address that would be refused; plain HTTP outside a private
            network (what it is sent would travel in clear).
    """
    try:
        url = URL(text or "")
        host = url.host
    except ValueError:
        raise SettingsError(f"{where}: is not a URL") from None
    if not host or url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise SettingsError(f"{where}: give scheme, host, port and path only")
    if url.scheme == "http" and not private_network:
        raise SettingsError(f"{where}: plain http needs private_network = true; use https")
    if is_literal(host) and not permitted(host, private_network=private_network):
        raise SettingsError(f"{where}: the gateway does not dial that address")
    return url


def hosts(text: str | None) -> tuple[str, ...]:
    """See ``contract.Aimed``: the one host of a URL whose redirects nobody follows, as decisions spell it (an
    international name in its ASCII form)."""
    host = URL(text or "").raw_host
    return () if host is None else (host,)
