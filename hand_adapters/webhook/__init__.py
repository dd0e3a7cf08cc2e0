"""The webhook adapter: signed messages to one receiver."""

from hand_adapters.webhook.adapter import WebhookAdapter

__all__ = ["WebhookAdapter"]
