"""The JSON shapes of the policy: the bundle that decides, signed bundles, and the remote that they come from; see
``schemas``.
"""

from typing import Any, Literal

from pydantic import Field

from gateway.policy.activations import Way
from gateway.web.schemas import Shape
from gateway.web.times import Time


class BundleFile(Shape):
    """A file of the bundle."""

    path: str
    sha256: str


class PolicyView(Shape):
    """The active policy bundle."""

    engine: str
    source: Literal["directory", "signed"]
    digest: str
    files: list[BundleFile]
    problem: str | None = Field(None, description="Why a newer bundle was not activated.")


class ActivationView(Shape):
    """A change of the bundle that decides."""

    number: int
    digest: str
    way: Way
    proposal_id: str | None
    by: str
    at: Time


class BundleSummary(Shape):
    """A signed bundle."""

    digest: str
    commit: str
    added_by: str
    added_at: Time


class BundleList(Shape):
    """Signed bundles and every change of the one that decides, newest first."""

    bundles: list[BundleSummary]
    activations: list[ActivationView]


class RewrittenView(Shape):
    """A history that did not go forward."""

    moved: Literal["back", "aside"] = Field(description="back: to an older commit. aside: to another history.")
    before: str
    commit: str


class PullProblem(Shape):
    """Why the newest pull brought nothing."""

    code: str
    detail: str = Field(description="For operators; Git's own words among them.")
    commit: str | None = Field(description="The commit that was refused; null where none could be fetched.")


class RemoteView(Shape):
    """The Git remote that signed bundles are pulled from."""

    url: str
    ref: str
    path: str
    interval_seconds: float
    notify: bool = Field(description="Whether the server's webhook may notify.")
    tried_at: Time | None
    good_at: Time | None = Field(description="When the remote last held a good bundle.")
    commit: str | None = Field(description="That brought the newest good bundle.")
    digest: str | None = Field(description="The newest good bundle; propose it to have it decide.")
    rewritten: RewrittenView | None = Field(description="Where its history was last found rewritten.")
    problem: PullProblem | None


class Noticed(Shape):
    """The notice was taken."""

    noticed: Literal[True]


class BundleView(BundleSummary):
    """A signed bundle: what it was built from, by whom, what was checked then, and when it decided."""

    directory: str
    built_at: Time
    signer: str
    kid: str
    checks: dict[str, Any]
    files: list[BundleFile]
    activations: list[ActivationView]


class RollbackRequest(Shape):
    """The bundle to go back to."""

    digest: str | None = Field(
        None, pattern=r"^[0-9a-f]{64}$", description="Default: the one that decided before this one was activated."
    )
    act: str | None = Field(None, max_length=65_536, description="proposal+jws by the caller's enrolled key.")
