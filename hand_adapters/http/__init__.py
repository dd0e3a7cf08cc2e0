"""The ``http`` adapter: declared requests to one host."""
