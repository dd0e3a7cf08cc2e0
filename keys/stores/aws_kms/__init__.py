"""Keys in AWS KMS: they sign and wrap there. Needs the extra ``aws`` (boto3), imported only in ``client``."""

from typing import Final

KIND: Final = "aws-kms"
"""Of halves and of wrappings, in sealed records and in the root's file."""
