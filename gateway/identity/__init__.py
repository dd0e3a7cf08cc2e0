"""Callers whom another issuer vouches for: its keys, its tokens, and which principal a token is."""
