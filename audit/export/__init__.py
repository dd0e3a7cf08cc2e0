"""Exports of the log: evidence bundles, and lines for other people's tools. The reader's side is ``audit.verifier``."""
