"""What Schemathesis does not know of the API: a body of signed JSON is text. Runs in .ci/schemathesis's environment."""

import schemathesis


@schemathesis.serializer("application/jose")
def jose(_: object, value: object) -> bytes:
    """The generated text as it is."""
    return value if isinstance(value, bytes) else str(value).encode()
