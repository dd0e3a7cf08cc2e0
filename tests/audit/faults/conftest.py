from tests.audit.faults.device import device

__all__ = ["device"]
