"""The mail server that a hand hands its messages to, and whom it may write to."""

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from gateway.settings.base import Section

LOCAL: Final = r"[A-Za-z0-9_][A-Za-z0-9_+&'=-]*(\.[A-Za-z0-9_+&'=-]+)*"
"""The part of an address before the ``@``: a dot-string (RFC 5321 section 4.1.2) without the characters by which
servers route (``%``, ``!``), name files and programs (``/``, ``|``) or quote."""
DOMAIN: Final = r"([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])"
"""A domain in its one spelling: lower case, an international one in its ASCII form, no address literal."""
ADDRESS_MAX: Final = 254
"""Characters of an address (RFC 5321 section 4.5.3.1.3, less the angle brackets)."""
LOCAL_MAX: Final = 64

Address = Annotated[str, StringConstraints(pattern=rf"^{LOCAL}@{DOMAIN}$", max_length=ADDRESS_MAX)]
Domain = Annotated[str, StringConstraints(pattern=rf"^{DOMAIN}$", max_length=253)]
RecipientPattern = Annotated[str, StringConstraints(pattern=rf"^(\*|{LOCAL})@{DOMAIN}$", max_length=ADDRESS_MAX)]
Extension = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]{1,10}$")]
MediaType = Annotated[
    str,
    StringConstraints(pattern=r"^(application|audio|font|image|model|text|video)/[a-z0-9][a-z0-9.+-]{0,99}$"),
]
"""What a file can be. No ``message/`` and no ``multipart/``: a message in a message has recipients of its own."""


class MailSettings(Section):
    """A hand of the adapter `mail`: the server that takes its messages, and whom it may write to."""

    host: str = Field(
        pattern=r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-fA-F:]{2,39})$",
        description="Name or address of the server that takes messages (a submission server, RFC 6409).",
    )
    port: int | None = Field(None, ge=1, le=65_535, description="Its port. Default: 465 (tls), 587 (starttls), 25.")
    security: Literal["tls", "starttls", "none"] = Field(
        "tls",
        description="tls: from the first byte. starttls: a server that does not offer it is told nothing. none: "
        "private_network only, and without a login.",
    )
    ca_file: Path | None = Field(None, description="Authorities (PEM) of its certificate. Default: the system's.")
    user: str | None = Field(
        None, pattern=r"^[\x21-\x7e]{1,128}$", description="As whom; the password is a secret in the place `password`."
    )
    senders: tuple[Address, ...] = Field(
        min_length=1, max_length=64, description="From whom. With several, the argument `from` chooses one."
    )
    sender_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,63}$", description="What mail programs show as the sender's name."
    )
    recipients: tuple[RecipientPattern, ...] = Field(
        min_length=1,
        max_length=256,
        description="Who may be written to: addresses, and `*@DOMAIN` for everybody there (and nobody below it).",
    )
    recipients_max: int = Field(10, ge=1, le=100, description="Recipients of one message.")
    internal: tuple[Domain, ...] = Field(
        (), max_length=256, description="Domains that are yours, as policies are told. Default: those of senders."
    )
    html: bool = Field(False, description="Whether a message may have an HTML part: it may show what text does not.")
    attachment_types: dict[Extension, MediaType] = Field(
        {}, max_length=64, description="Extensions that attached files may have -> media type. Default: no files."
    )
    attachments_max: int = Field(5, ge=1, le=50, description="Files of one message.")
    content_max_bytes: int = Field(
        1_048_576, ge=1024, le=20_971_520, description="Text, HTML and files of one message, before they are encoded."
    )
    connections_max: int = Field(4, ge=1, le=32, description="Connections at once; further messages wait.")

    @model_validator(mode="after")
    def _complete(self) -> "MailSettings":
        if self.security == "none" and (self.user is not None or self.ca_file is not None):
            raise ValueError("security = 'none' takes neither user nor ca_file: a password goes through TLS alone")
        if any(len(one.partition("@")[0]) > LOCAL_MAX for one in (*self.senders, *self.recipients)):
            raise ValueError(f"an address has at most {LOCAL_MAX} characters before the @")
        if self.sender_name is not None and len(self.senders) > 1:
            raise ValueError("sender_name goes with one sender")
        return self

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the server."""
        return self.host, self.port or {"tls": 465, "starttls": 587}.get(self.security, 25)

    @property
    def origin(self) -> str:
        """``scheme://host:port``, to which alone its password goes."""
        host, port = self.address
        return f"{self.scheme}://{f'[{host}]' if ':' in host else host.lower()}:{port}"

    @property
    def scheme(self) -> str:
        """``smtps`` where TLS is spoken from the first byte, else ``smtp``."""
        return "smtps" if self.security == "tls" else "smtp"

    @property
    def internal_domains(self) -> frozenset[str]:
        """The operator's own domains."""
        return frozenset(self.internal or (one.partition("@")[2] for one in self.senders))
