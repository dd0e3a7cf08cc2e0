"""``python -m gateway.cli`` is ``handrail``."""

from gateway.cli.main import run

run()
