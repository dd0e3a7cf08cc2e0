"""The jail: what it is made of on this machine."""

from pathlib import Path

from pydantic import Field

from gateway.settings.base import Section


class JailSettings(Section):
    """The sandbox for hand processes."""

    bwrap: Path | None = Field(None, description="The bubblewrap program. Default: found on PATH.")
    landlock_exec: Path | None = Field(
        None,
        description="The program that applies Landlock's rules about files. Default: what `handrail jail build` made, "
        "where it did.",
    )
    landlock_required: bool = Field(
        False, description="Whether no jail starts where Landlock holds less than a newer kernel or that program gives."
    )
    uid: int = Field(65_532, ge=1000, le=2**31, description="Unprivileged uid for jails when the gateway is root.")
    gid: int = Field(65_532, ge=1000, le=2**31, description="Its group.")
    memory_budget_bytes: int = Field(
        40 * 2**30,
        ge=2**26,
        description="Where there is no cgroup: processes x address space of all jails stay under this. It bounds what "
        "they may map, not what they hold in memory, so it may exceed the machine's.",
    )
