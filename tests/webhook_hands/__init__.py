"""Hands that send signed messages."""
