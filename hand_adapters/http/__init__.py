"""The http adapter: declared requests to one API."""

from hand_adapters.http.adapter import HttpAdapter

__all__ = ["HttpAdapter"]
