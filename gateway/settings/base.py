"""What every table of the settings is, and the words that several of them take."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.errors import HandrailError
from gateway.reasons import Reason

Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
Tenant = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Pointer = Annotated[str, Field(pattern=r"^(/([^~/]|~[01])*)*$", max_length=512)]
"""RFC 6901 JSON pointer; a segment ``*`` matches every array item."""
PathPattern = Annotated[
    str, Field(pattern=r"^(/(\*|[A-Za-z0-9._~!$&'()+,=:@-]+))*(/|/\*\*)?$", min_length=1, max_length=1000)
]
"""Paths that a request may have: ``*`` is one whole segment, ``**`` at the end whatever follows."""


class SettingsError(HandrailError):
    """The configuration cannot be used; ``detail`` says which key and what to do."""

    def __init__(self, detail: str) -> None:
        super().__init__(Reason.REQUEST_MALFORMED, detail)


class Section(BaseModel):
    """A frozen table of the file that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")
