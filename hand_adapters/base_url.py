"""The base URL of a hand that is an HTTP peer."""

from yarl import URL

from gateway.settings import HandSettings, SettingsError
from hand_adapters.dialer import is_literal, permitted


def checked(hand_id: str, settings: HandSettings) -> URL:
    """``base_url``, as one that may be asked.

    Raises:
        SettingsError: it has credentials, a query or an address that would be refused; plain HTTP outside a private
            network (what it is sent would travel in clear).
    """
    where = f"hands.{hand_id}.base_url"
    try:
        url = URL(settings.base_url or "")
        host = url.host
    except ValueError:
        raise SettingsError(f"{where}: is not a URL") from None
    if not host or url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise SettingsError(f"{where}: give scheme, host, port and path only")
    if url.scheme == "http" and not settings.private_network:
        raise SettingsError(f"{where}: plain http needs private_network = true; use https")
    if is_literal(host) and not permitted(host, private_network=settings.private_network):
        raise SettingsError(f"{where}: the gateway does not dial that address")
    return url
