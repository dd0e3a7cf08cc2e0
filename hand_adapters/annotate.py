"""The operator's word joined to a tool's own: how an :class:`ActionManifest` and a :class:`Manifest` come about.

A tool's annotations are claims by the party that is to be governed; they are kept for people to read and decide
nothing. What decides is what the operator declared, and what nobody declared counts as the worst.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gateway.errors import Refused
from gateway.manifest import ActionManifest, EgressRule, Manifest, SecretUse
from gateway.settings import ActionSettings, HandSettings, SettingsError, origin_of
from hand_adapters.dialer import permitted
from hand_adapters.schemas import Checker, SchemaError, normalise, reaches

_UNDECLARED = ActionSettings()


def action(
    name: str,
    declared: ActionSettings | None,
    *,
    args_schema: Any,
    result_schema: Any = None,
    description: str = "",
    title: str | None = None,
    annotations: Mapping[str, Any] | None = None,
) -> ActionManifest:
    """One action, its schemas normalised (that of the args closed) and proven to compile.

    Raises:
        SchemaError: the action cannot be checked, so it cannot be offered.
    """
    word = declared or _UNDECLARED
    args = normalise(args_schema, close=True)
    result = None if result_schema is None else normalise(result_schema, close=False)
    Checker(args)
    for pointer in sorted((*word.args, *word.data_subjects)):
        of_result = pointer in word.data_subjects and _in_result(result, pointer)
        if not of_result and not reaches(args, pointer):
            raise SchemaError(f"handrail.toml speaks of {pointer}, which no argument of {name} can be at")
    if result is not None:
        Checker(result)
    return ActionManifest(
        name=name,
        description=description,
        args_schema=args,
        result_schema=result,
        title=title,
        annotations=dict(annotations or {}),
        side_effects=word.side_effects,
        idempotent=word.idempotent,
        cacheable=word.cacheable,
        roles=dict(sorted(word.args.items())),
        data_subjects=tuple(sorted(word.data_subjects)),
        trust=word.trust,
        result_trust=dict(sorted(word.result_trust.items())),
        deadline_seconds=word.deadline_seconds,
        result_max_bytes=word.result_max_bytes,
    )


def manifest(
    hand_id: str,
    settings: HandSettings,
    actions: Iterable[ActionManifest],
    *,
    instructions: str = "",
) -> Manifest:
    """A hand's manifest, actions by name; equal tools and equal words give an equal digest.

    Raises:
        Refused: ``schema.json`` where a schema has no canonical form.
    """
    return Manifest(
        hand=hand_id,
        adapter=settings.adapter,
        actions={entry.name: entry for entry in sorted(actions, key=lambda entry: entry.name)},
        region=settings.region,
        trust=settings.trust,
        labels=tuple(sorted(settings.labels)),
        instructions=instructions,
        endpoint=settings.url,
        claim_seconds=settings.claim_seconds if settings.adapter == "remote" else None,
        secrets=secret_uses(hand_id, settings),
        egress=egress_rules(hand_id, settings),
    )


def egress_rules(hand_id: str, settings: HandSettings) -> tuple[EgressRule, ...]:
    """What the operator lets a hand's jail reach, in one order.

    Raises:
        SettingsError: an address that is never dialled, a host both seen and blind, or a secret that no rule lets go
            where it belongs.
    """
    rules: list[EgressRule] = []
    for number, one in enumerate(settings.egress):
        where = f"hands.{hand_id}.egress[{number}]"
        literal = ":" in one.host or one.host.replace(".", "").isdecimal()
        if literal and not permitted(one.host, private_network=one.private_network):
            raise SettingsError(f"{where}.host: the gateway does not dial that address")
        rules.append(
            EgressRule(
                one.scheme,
                one.host,
                one.port or (443 if one.scheme == "https" else 80),
                () if one.blind else tuple(sorted(set(one.methods))),
                tuple(sorted(set(one.paths))),
                one.blind,
                one.credential,
                one.private_network,
            )
        )
    blind = {rule.origin for rule in rules if rule.blind}
    seen = {rule.origin for rule in rules if not rule.blind}
    if both := sorted(blind & seen):
        raise SettingsError(f"hands.{hand_id}.egress: {both[0]} is blind in one rule and not in another")
    if rules:
        for name, secret in settings.secrets.items():
            if lost := sorted({origin_of(target) for target in secret.targets} - seen):
                raise SettingsError(
                    f"hands.{hand_id}.secrets.{name}.targets: no rule of egress that is not blind names {lost[0]}"
                )
    return tuple(sorted(rules, key=lambda rule: (rule.origin, rule.paths, rule.methods)))


def declared(
    hand_id: str,
    settings: HandSettings,
    claims: Callable[[str, ActionSettings], Mapping[str, Any]] = lambda _name, _word: {},
    schemas: Callable[[str, ActionSettings], tuple[Any, Any]] = lambda _name, word: (
        word.args_schema,
        word.result_schema,
    ),
) -> Manifest:
    """The manifest of a hand of which the operator declares all.

    Args:
        claims: name and declaration of an action -> what the manifest says of how it is run.
        schemas: of its args and of its result; else those that are declared.

    Raises:
        SettingsError: a schema that cannot be used.
    """

    def one(name: str, word: ActionSettings) -> ActionManifest:
        args_schema, result_schema = schemas(name, word)
        try:
            return action(
                name,
                word,
                args_schema=args_schema,
                result_schema=result_schema,
                description=word.description or "",
                annotations=claims(name, word),
            )
        except SchemaError as exc:
            raise SettingsError(f"hands.{hand_id}.actions.{name}: schema {exc.detail}") from None

    try:
        return manifest(hand_id, settings, (one(*item) for item in settings.actions.items()))
    except Refused:
        raise SettingsError(f"hands.{hand_id}: a schema has no canonical JSON form") from None


def secret_uses(hand_id: str, settings: HandSettings) -> tuple[SecretUse, ...]:
    """The secrets that the operator declared for a hand, by name.

    Raises:
        SettingsError: one without a target, one that would travel in clear, or two for one place.
    """
    uses: list[SecretUse] = []
    for name, secret in sorted(settings.secrets.items()):
        where = f"hands.{hand_id}.secrets.{name}"
        database = settings.database.origin if settings.database is not None else None
        own = settings.base_url or settings.url or database
        given = secret.targets or ((own,) if own else ())
        try:
            targets = tuple(sorted({origin_of(target) for target in given}))
        except ValueError as exc:
            raise SettingsError(f"{where}.targets: {exc}") from None
        if not targets:
            raise SettingsError(f"{where}: name its targets")
        if not _private(settings) and any(target.startswith("http://") for target in targets):
            raise SettingsError(f"{where}.targets: plain http needs private_network = true; use https")
        use = SecretUse(
            name,
            secret.store if secret.connection is None else "",
            secret.place,
            targets,
            secret.parameter,
            secret.username,
            connection=secret.connection,
            methods=tuple(sorted(set(secret.methods))),
            paths=tuple(sorted(set(secret.paths))),
        )
        if use.slot in {other.slot for other in uses}:
            raise SettingsError(f"{where}: another secret of the hand is in the same place")
        uses.append(use)
    return tuple(uses)


def _private(settings: HandSettings) -> bool:
    """Whether plain HTTP may be spoken: by the hand, or, of one in a jail, where its rules of egress say so."""
    return settings.private_network or bool(settings.egress)


def _in_result(schema: Any, pointer: str) -> bool:
    """Whether a pointer can lead into ``{content, structured}``; only of a structure with a schema can it be told."""
    first, _, rest = pointer.removeprefix("/").partition("/")
    if first == "structured" and schema is not None:
        return reaches(schema, f"/{rest}" if rest else "")
    return first in {"content", "structured"}
