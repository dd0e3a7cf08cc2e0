"""The mail adapter: messages to recipients whom the operator listed, through one server."""

from hand_adapters.mail.adapter import MailAdapter

__all__ = ["MailAdapter"]
