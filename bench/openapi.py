"""How long an OpenAPI document takes to be read, and its operations to become actions whose schemas compile.

``python -m bench.openapi FILE``
"""

import sys
import time
from pathlib import Path

from hand_adapters.annotate import action
from hand_adapters.http.openapi.document import Document
from hand_adapters.http.openapi.offers import offer
from hand_adapters.http.openapi.reading import DocumentError
from hand_adapters.schemas import SchemaError


def main(file: Path) -> None:
    started = time.perf_counter()
    document = Document.load(file)
    read = time.perf_counter()
    left_out: list[str] = []
    for operation in document.operations:
        try:
            made = offer(document, operation, "https://api.example", ())
            action(operation.name, None, args_schema=made.args_schema, result_schema=made.result_schema)
        except (DocumentError, SchemaError) as exc:
            left_out.append(f"{operation.name}: {exc.detail}")
    done = time.perf_counter()
    print(f"{file.name}: {file.stat().st_size:,} bytes, read in {read - started:.2f} s")
    print(f"{len(document.operations)} operations made in {done - read:.2f} s, {len(left_out)} of them left out")
    print("\n".join(f"  {line}" for line in left_out))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
