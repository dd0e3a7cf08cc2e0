"""Hands that send mail."""
