"""The ``handrail`` command as a module, so that a measurement runs the checkout and not what else is installed."""

from gateway.cli.main import run

if __name__ == "__main__":
    run()
