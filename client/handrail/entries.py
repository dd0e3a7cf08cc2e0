"""Check a page of audit entries against the log that it says it is from."""

from collections.abc import Mapping
from typing import Any

from handrail.errors import MalformedError
from handrail.merkle import leaf_hash, verify_inclusion
from handrail.note import Checkpoint, open_checkpoint
from handrail.strict import b64_decode, canonical
from handrail.trust import Trust


def verify_page(page: Mapping[str, Any], trust: Trust) -> Checkpoint:
    """Check that each entry of ``page`` stands in the log, at its index, under the checkpoint that came with it.

    That shows that no entry was made up, changed or shown twice; no proof covers ``label``, the type in words. It does
    not show that nothing was left out: for that, read the whole range ``covers`` again, or ask an auditor who did.

    Args:
        page: the answer of ``audit_entries(proofs="true", ...)``.
        trust: whose keys sign the log, and who else must have signed it (``quorum``, ``required``).

    Returns:
        The checkpoint. Keep it: a later log must still contain it.

    Raises:
        MalformedError: an entry, a proof or the checkpoint is not what it says; the text names the entry.
    """
    note = page.get("checkpoint")
    if not isinstance(note, str):
        raise MalformedError("the page carries no checkpoint: ask for proofs")
    checkpoint = open_checkpoint(note, trust.log_keys, trust.quorum, trust.required)
    if checkpoint.origin != trust.origin:
        raise MalformedError(f"the checkpoint is of the log {checkpoint.origin}")
    entries = page.get("entries")
    if not isinstance(entries, list):
        raise MalformedError("the page has no list of entries")
    seen = set()
    for item in entries:
        index = item.get("index") if isinstance(item, dict) else None
        if type(index) is not int:
            raise MalformedError("an entry of the page has no index")
        if index in seen:
            raise MalformedError(f"entry {index}: it stands on the page twice")
        seen.add(index)
        try:
            path = [b64_decode(value) for value in item["proof"]]
            verify_inclusion(leaf_hash(canonical(item["entry"])), index, checkpoint.size, path, checkpoint.root)
        except (KeyError, TypeError, AttributeError):
            raise MalformedError(f"entry {index}: it has no proof") from None
        except MalformedError as exc:
            raise MalformedError(f"entry {index}: {exc}") from None
        if item.get("code") != item["entry"].get("type"):
            raise MalformedError(f"entry {index}: it is shown as another type than it has")
    return checkpoint
