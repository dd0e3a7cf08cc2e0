"""Steps that the client itself runs: judged and let go like any other, and then nothing more is done about them here.

No credential is issued and nobody is called. The record that lets such a step go is its end: it is ``released``, and
what the client says came of it (``gateway.client_steps``) is beside that, never instead of it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from gateway.manifest import Manifest
from gateway.model import Obligations, StepStatus
from gateway.state import StepState


def by_client(state: StepState) -> bool:
    """Whether whoever asked for the step runs it."""
    return state.manifest is not None and state.manifest.client


def unkept(manifest: Manifest | None, duties: Obligations) -> bool:
    """Whether a decision obliges to what cannot be kept where the client runs the step: it runs in no jail of ours and
    behind no proxy, for as long as it likes, and the client has the whole result before we hear of it."""
    if manifest is None or not manifest.client:
        return False
    confined = duties.jail_profile is not None or duties.egress_hosts is not None or duties.deadline_seconds is not None
    altered = bool(duties.redact or duties.redact_personal) or duties.result_max_bytes is not None
    return confined or altered


@contextmanager
def letting_go(states: Sequence[StepState]) -> Iterator[None]:
    """While steps that go are put on record. One that its client runs ends with that, and nobody may see it end before
    it is durable, for whoever sees it runs it."""
    for state in states:
        if by_client(state):
            state.begin_ending().status = StepStatus.RELEASED
        else:
            state.status = StepStatus.RUNNING
    try:
        yield
    except BaseException:
        for state in states:
            state.ending = None
        raise
    for state in states:
        if state.ending is not None:
            state.adopt(state.ending)
