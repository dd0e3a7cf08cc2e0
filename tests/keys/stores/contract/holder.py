"""Holds a store's lock until it is killed: ``python -m tests.keys.stores.contract.holder SPEC`` says ``held``."""

import json
import signal
import sys

from tests.keys.stores.contract.backends import open_store

if __name__ == "__main__":
    with open_store(json.loads(sys.argv[1])).lock():
        sys.stdout.write("held\n")
        sys.stdout.flush()
        signal.pause()
