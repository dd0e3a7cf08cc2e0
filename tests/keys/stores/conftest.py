"""What the stores are tried with: a software token, a real OpenBao, a stand-in for KMS."""

from tests.keys.stores.kms_stand_in import credentials, kms_service
from tests.keys.stores.openbao import engine, openbao
from tests.keys.stores.softhsm import soft_conf, soft_token

__all__ = ["credentials", "engine", "kms_service", "openbao", "soft_conf", "soft_token"]
