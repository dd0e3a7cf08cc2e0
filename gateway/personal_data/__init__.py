"""Personal data in what a hand answered, and with keys and tokens in requests to models: found by its form, its check
digits and the words beside it.

``folding`` gives a text as a person reads it, ``json_texts`` takes one apart that is JSON, ``check_digits`` holds the
arithmetic, ``recognisers`` what is looked for, ``keys_and_tokens`` finds these; ``scanner`` goes through a result,
``requests`` through a request. Pure: no I/O, no clock; the work is linear in the bytes of either. Beside that stands
``presidio``, a process that an operator may add, with a deadline.
"""

from gateway.personal_data.keys_and_tokens import SECRET_KIND
from gateway.personal_data.presidio import Presidio, PresidioError
from gateway.personal_data.recognisers import BUILT_IN, KINDS, UNSEARCHED, PatternError, Recogniser, declared
from gateway.personal_data.requests import first_change, taken_out
from gateway.personal_data.scanner import Scan, Scanner

__all__ = [
    "BUILT_IN",
    "KINDS",
    "SECRET_KIND",
    "UNSEARCHED",
    "PatternError",
    "Presidio",
    "PresidioError",
    "Recogniser",
    "Scan",
    "Scanner",
    "declared",
    "first_change",
    "taken_out",
]
