"""The one exception of the stand-alone verifier. Its text is for the person who runs it."""


class EvidenceError(Exception):
    """What was given is not in the form that it should have, or does not show what it should."""
