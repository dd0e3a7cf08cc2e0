"""A software token for every test of stores."""

from tests.keys.stores.softhsm import soft_conf, soft_token

__all__ = ["soft_conf", "soft_token"]
