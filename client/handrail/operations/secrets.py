"""Secrets of hands and connections: values go there, and none comes back."""

from handrail.exchange import Operation, delete, get, listed, post
from handrail.views import Json


def secrets() -> Operation[list[Json]]:
    """Secrets of the tenant and the hands and connections that name them, without values."""
    return listed((yield get("secrets")), "secrets")


def secret(name: str) -> Operation[Json]:
    """A sealed secret, without its value."""
    return (yield get("secrets", name)).document


def set_secret(name: str, value: str) -> Operation[Json]:
    """Keep a new secret."""
    return (yield post({"name": name, "value": value}, "secrets")).document


def rotate_secret(name: str, value: str) -> Operation[Json]:
    """Give a secret a new value."""
    return (yield post({"value": value}, "secrets", name, "rotate")).document


def remove_secret(name: str) -> Operation[Json]:
    """Forget a secret."""
    return (yield delete("secrets", name)).document


def check_secrets() -> Operation[list[Json]]:
    """Whether each secret that hands and connections name could be used now."""
    return listed((yield post({}, "secrets", "check")), "checks")
