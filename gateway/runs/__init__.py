"""Runs: the gateway itself asks a model, with hands as its tools, until it is done. Every question and every call is a
plan on the one way that every plan takes."""
