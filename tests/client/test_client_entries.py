"""A page of the log with proofs: whatever on it was made up or changed is named."""

import copy

import pytest
from handrail.entries import verify_page
from handrail.errors import MalformedError
from handrail.trust import Trust

from tests.client.receipt_forge import Forge


@pytest.fixture
def forge() -> Forge:
    return Forge()


def trust(forge: Forge) -> Trust:
    return Trust.from_document(forge.trust())


def test_a_genuine_page_is_proved(forge: Forge) -> None:
    checkpoint = verify_page(forge.page(), trust(forge))
    assert (checkpoint.origin, checkpoint.size) == (forge.trust()["origin"], forge.size)
    empty = forge.page() | {"entries": []}
    assert verify_page(empty, trust(forge)).size == forge.size


TAMPERED = {
    "another hand": lambda page, item: item["entry"].update(hand="mail"),
    "a member more": lambda page, item: item["entry"].update(x="y"),
    "another place": lambda page, item: item.update(index=3),
    "a place outside": lambda page, item: item.update(index=page["tree_size"]),
    "no index": lambda page, item: item.pop("index"),
    "true for an index": lambda page, item: item.update(index=True),
    "another type shown": lambda page, item: item.update(code="POLALW"),
    "no proof": lambda page, item: item.pop("proof"),
    "null for a proof": lambda page, item: item.update(proof=None),
    "a proof cut short": lambda page, item: item["proof"].pop(),
    "a proof of other bytes": lambda page, item: item["proof"].__setitem__(0, "A" * 43 + "="),
    "no base64": lambda page, item: item["proof"].__setitem__(0, "!"),
    "no entry": lambda page, item: item.update(entry=None),
    "no object": lambda page, item: page.update(entries=["x"]),
    "twice": lambda page, item: page["entries"].append(item),
    "no list": lambda page, item: page.update(entries=None),
    "no checkpoint": lambda page, item: page.update(checkpoint=None),
    "a changed checkpoint": lambda page, item: page.update(checkpoint=page["checkpoint"].replace("\n7\n", "\n8\n")),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_page_that_was_tampered_with_is_refused(forge: Forge, how: str) -> None:
    page = copy.deepcopy(forge.page())
    TAMPERED[how](page, page["entries"][0])
    assert page != forge.page()
    with pytest.raises(MalformedError):
        verify_page(page, trust(forge))


def test_a_page_of_another_log_or_of_another_key_is_refused(forge: Forge) -> None:
    known = trust(forge)
    forge.checkpoint_origin = "other.example/log"
    with pytest.raises(MalformedError):
        verify_page(forge.page(), known)
    forge = Forge()
    forge.checkpoint_signer = (forge.checkpoint_origin, forge.receipt_key)
    with pytest.raises(MalformedError):
        verify_page(forge.page(), known)
