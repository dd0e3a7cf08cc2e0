"""Models behind an endpoint that speaks the Messages API of Anthropic."""

from hand_adapters.anthropic.adapter import AnthropicAdapter

__all__ = ["AnthropicAdapter"]
