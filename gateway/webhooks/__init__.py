"""Telling others that a person is asked: signed messages that are sent beside the pipeline, never in its way."""
