"""Results that are kept for a while, of actions that the operator declared cacheable."""

from pydantic import Field

from gateway.settings.base import Section


class CacheSettings(Section):
    """Answers of cacheable actions, kept in the memory of one process and written nowhere."""

    bytes_max: int = Field(
        33_554_432, ge=0, le=2**36, description="What they may take together; the least used go. 0 keeps none."
    )
    entries_max: int = Field(10_000, ge=1, le=10_000_000, description="How many there may be.")
