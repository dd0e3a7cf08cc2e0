"""Hands: adapters, registry and pins, against servers that misbehave."""
