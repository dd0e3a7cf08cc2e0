"""Presidio, run by an interpreter that has it: texts in, places out, a line of JSON each. It imports nothing of
Handrail, which is not there; and it reaches no network, which Presidio would (a list of domains) and spaCy (models).

    python presidio_worker.py '{"language": "en", "model": null, "entities": ["CRYPTO"], "score_min": 0.5}'

Its first line is ``{"ready": true}`` or ``{"error": <text>}``. Then each line ``[text, ...]`` is answered by
``[[[start, end, entity], ...], ...]``, in characters, or by ``null`` where Presidio could not.
"""

import importlib
import json
import os
import signal
import sys
from typing import Any, TextIO

ANSWER_SECONDS = 120
"""After so long the kernel ends it, should whoever asks be gone by then."""


def _offline(event: str, _arguments: tuple[Any, ...]) -> None:
    if event in {"socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"}:
        raise OSError("no network here")


def _analyzer(language: str, model: str | None) -> Any:
    spacy = importlib.import_module("spacy")
    presidio = importlib.import_module("presidio_analyzer")
    engines = importlib.import_module("presidio_analyzer.nlp_engine")
    domains: Any = importlib.import_module("tldextract")
    domains.extract = domains.TLDExtract(cache_dir=None, suffix_list_urls=())
    engine = engines.SpacyNlpEngine(models=[{"lang_code": language, "model_name": model or "blank"}])
    # Loaded here: the engine itself would download a model that is not there.
    engine.nlp = {language: spacy.blank(language) if model is None else spacy.load(model)}
    return presidio.AnalyzerEngine(nlp_engine=engine, supported_languages=[language])


def _findable(analyzer: Any, language: str) -> set[str]:
    """What something can find. Without a model for it, Presidio lists entities all the same."""
    named = "ner" in analyzer.nlp_engine.nlp[language].pipe_names
    found: set[str] = set()
    for one in analyzer.registry.get_recognizers(language=language, all_fields=True):
        if named or type(one).__name__ != "SpacyRecognizer":
            found.update(one.supported_entities)
    return found


def _answer(analyzer: Any, wanted: dict[str, Any], texts: list[str]) -> Any:
    places = []
    for text in texts:
        found = analyzer.analyze(
            text, wanted["language"], entities=wanted["entities"], score_threshold=wanted["score_min"]
        )
        places.append([[one.start, one.end, one.entity_type] for one in found])
    return places


def _say(out: TextIO, document: Any) -> None:
    out.write(json.dumps(document) + "\n")
    out.flush()


def main() -> None:
    """Serve until the input ends."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a library prints is no answer
    sys.addaudithook(_offline)
    wanted = json.loads(sys.argv[1])
    try:
        analyzer = _analyzer(wanted["language"], wanted["model"])
        missing = sorted({*wanted["entities"]} - _findable(analyzer, wanted["language"]))
    except (Exception, SystemExit) as exc:  # noqa: BLE001 - whatever a library says, it is not ready
        _say(out, {"error": f"{type(exc).__name__}: {exc}"})
        return
    if missing:
        _say(out, {"error": f"nothing finds {missing[0]} in {wanted['language']} with this model"})
        return
    _say(out, {"ready": True})
    for line in sys.stdin:
        signal.alarm(ANSWER_SECONDS)
        try:
            places = _answer(analyzer, wanted, json.loads(line))
        except Exception as exc:  # noqa: BLE001 - what it says may hold the text
            sys.stderr.write(f"{type(exc).__name__}\n")
            places = None
        signal.alarm(0)
        _say(out, places)


if __name__ == "__main__":
    main()
