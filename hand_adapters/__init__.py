"""Hands: the code that speaks to tools, and the jail that tools run in."""
