"""Keys in the Transit engine of OpenBao, or of a Vault that speaks the same API: they sign and wrap there."""

from typing import Final

KIND: Final = "transit"
"""Of halves and of wrappings, in sealed records and in the root's file."""
