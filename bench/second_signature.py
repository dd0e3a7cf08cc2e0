"""What the log's second signature costs: ``python -m bench.second_signature``."""

import hashlib
import time
from collections.abc import Callable
from statistics import median

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from audit.checkpoint import VerifierKey, checkpoint_text, sign_note, verify_note
from audit.post_quantum import PostQuantumKey, line, require

ROUNDS = 400


def timed(work: Callable[[], object]) -> float:
    """Median of :data:`ROUNDS` runs, in microseconds."""
    spent = []
    for _ in range(ROUNDS):
        begun = time.perf_counter()
        work()
        spent.append((time.perf_counter() - begun) * 1e6)
    return median(spent)


def main() -> None:
    one, two = Ed25519PrivateKey.generate(), MLDSA44PrivateKey.generate()
    name = "log.example/handrail"
    first = VerifierKey(name, one.public_key().public_bytes_raw())
    second = PostQuantumKey(name, two.public_key().public_bytes_raw())
    text = checkpoint_text(name, 1_000_000, hashlib.sha256(b"root").digest())
    note = sign_note(text, first, one.sign)
    both = note + line(text, second, two.sign)
    print(f"checkpoint            {len(note.encode()):>6,} bytes  {len(both.encode()):>6,} with both")
    print(f"verifier key          {len(str(first)):>6,} bytes  {len(str(second)):>6,} of ML-DSA-44")
    print(f"sign and look         {timed(lambda: sign_note(text, first, one.sign)):>6,.0f} us     "
          f"{timed(lambda: line(text, second, two.sign)):>6,.0f} us more")  # fmt: skip
    print(f"verify                {timed(lambda: verify_note(both, [first])):>6,.0f} us     "
          f"{timed(lambda: require(both, [second])):>6,.0f} us more")  # fmt: skip


if __name__ == "__main__":
    main()
