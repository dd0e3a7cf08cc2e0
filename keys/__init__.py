"""Signing keys, their life, and the credentials made with them."""
