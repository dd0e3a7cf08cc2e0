"""From approved args to one exact command line. There is no shell: an argument of a program stays one argument.

What no shell does, a program may still do to itself: read a value that begins with ``-`` as an option. So such a value
stands only behind ``--`` or in ``--option={value}``. And a declaration may start a shell of its own: among commands
that it reads (``sh -c``) no value is put. Whoever wants a hand that is a shell lets a value be all of the commands.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gateway.canonical import canonical
from gateway.settings import ActionSettings, SettingsError
from hand_adapters.misfit import misfit

SCRATCH: Final = "/scratch"
"""Where the jail sees the files of a call."""
COMMAND_MAX_BYTES: Final = 65_536
"""Of one command line; the jail's orders have a bound of their own."""
_TOKEN: Final = re.compile(r"(\{\{|\}\})|\{([A-Za-z_][A-Za-z0-9_-]*)\}|([^{}]+)")
_SHELLS: Final = frozenset(
    {
        "ash",
        "bash",
        "busybox",
        "csh",
        "dash",
        "fish",
        "ksh",
        "mksh",
        "rbash",
        "runuser",
        "script",
        "sh",
        "su",
        "tcsh",
        "yash",
    }
    | {"pwsh", "zsh"}
)
_CODE: Final = {
    **dict.fromkeys(_SHELLS, re.compile(r"-[A-Za-z]*c[A-Za-z]*|--command(=.*)?|-Command", re.DOTALL)),
    "env": re.compile(r"-[A-Za-z0-9]*S.*|--split-string(=.*)?", re.DOTALL),
    "python": re.compile(r"-[A-Za-z]*c.*", re.DOTALL),
    **dict.fromkeys(("perl", "ruby"), re.compile(r"-[A-Za-z]*[eE].*", re.DOTALL)),
    **dict.fromkeys(("node", "nodejs"), re.compile(r"-[pe]+|--(eval|print)(=.*)?", re.DOTALL)),
    "php": re.compile(r"-[rRBE].*|--(run|process-begin|process-code|process-end)(=.*)?", re.DOTALL),
}
"""Program -> the options by which it reads commands or code from its arguments (of shells: POSIX.1-2017, sh, -c)."""
_VERSION: Final = re.compile(r"[-.\d]*(-static)?$")
_INSTEAD: Final = """give it an argument of its own behind them: ["sh", "-c", 'tool -- "$1"', "sh", "{name}"]"""
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_CONTROL_BUT_LINES: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of an argument: literal text, or the name of what stands there."""

    text: str
    is_name: bool


@dataclass(frozen=True, slots=True)
class _Element:
    """One element of ``argv``; ``behind`` says that an option can no longer begin there."""

    parts: tuple[_Part, ...]
    behind: bool

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(part.text for part in self.parts if part.is_name)


class Command:
    """An action's command line, parsed once.

    Attributes:
        program: its first element.
        uses: names of the arguments that it takes.
    """

    def __init__(self, where: str, action: ActionSettings) -> None:
        """Parse a declaration.

        Raises:
            SettingsError: no program, a stray brace, a placeholder for what is not declared, not scalar, or may be
                absent, or an argument that the program would never be told of.
        """
        self._where = where
        self._action = action
        self._files = {**action.input_files, **{name: file.name for name, file in action.output_files.items()}}
        if not action.argv or not isinstance(action.argv[0], str) or not action.argv[0] or "{" in action.argv[0]:
            raise SettingsError(f"{where}: begins with a program, as a plain text")
        self.program = action.argv[0]
        schema = action.args_schema or {}
        self._properties: Mapping[str, Any] = schema.get("properties", {})
        self._required = frozenset(schema.get("required", ()))
        self._groups = tuple(self._parse(action.argv[1:]))
        self._check_code()
        self.uses = frozenset(name for group, _ in self._groups for element in group for name in element.names)
        self._check_use(schema)

    def build(self, args: Mapping[str, Any]) -> tuple[str, ...]:
        """The command line of one call.

        Args:
            args: what the schema admitted.

        Raises:
            HandError: ``schema.args``, not executed: a value that a program could misread.
        """
        words = [self.program]
        for group, optional in self._groups:
            if not optional or all(self._present(name, args) for element in group for name in element.names):
                words += [word for element in group for word in self._words(element, args)]
        if sum(len(word.encode()) + 1 for word in words) > COMMAND_MAX_BYTES:
            raise misfit("a command line that is too long")
        return tuple(words)

    # --- parsing -----------------------------------------------------------------------------------------------------

    def _parse(self, argv: Sequence[str | tuple[str, ...]]) -> Iterator[tuple[tuple[_Element, ...], bool]]:
        behind = False
        for item in argv:
            optional = not isinstance(item, str)
            inner, elements = behind, []
            for text in (item,) if isinstance(item, str) else item:
                elements.append(self._element(text, optional=optional, behind=inner))
                inner = inner or text == "--"
            if optional and not any(element.names for element in elements):
                raise SettingsError(f"{self._where}: an inner list needs an argument that decides whether it is there")
            behind = behind if optional else inner
            yield tuple(elements), optional

    def _element(self, text: str, *, optional: bool, behind: bool) -> _Element:
        parts: list[_Part] = []
        position = 0
        while position < len(text):
            found = _TOKEN.match(text, position)
            if found is None:
                raise SettingsError(f"{self._where}: a brace that encloses no argument name; write {{{{ or }}}}")
            brace, name, literal = found.groups()
            parts.append(_Part(name, is_name=True) if name else _Part(brace[0] if brace else literal, is_name=False))
            position = found.end()
        element = _Element(tuple(parts), behind)
        if element.names and not parts[0].is_name and not parts[0].text.strip("-"):
            raise SettingsError(f"{self._where}: {text} would let an argument name an option")
        for name in element.names:
            self._check_placeholder(name, optional=optional, alone=len(element.names) == 1)
        return element

    def _check_placeholder(self, name: str, *, optional: bool, alone: bool) -> None:
        if name in self._action.output_files:
            return
        declared = self._properties.get(name)
        if not isinstance(declared, Mapping):
            raise SettingsError(f"{self._where}: {{{name}}} is no declared property of args_schema")
        may_lack = name not in self._required or "null" in _types(declared)
        if may_lack and not optional:
            raise SettingsError(f"{self._where}: {{{name}}} may be absent; require it, or put it into an inner list")
        if name in self._action.input_files:
            return
        kinds = _types(declared) - {"null"}
        listed = kinds == {"array"} and alone
        if listed:
            items = declared.get("items")
            kinds = _types(items) if isinstance(items, Mapping) else frozenset()
        if not kinds or not kinds <= _SCALARS:
            raise SettingsError(f"{self._where}: {{{name}}} must be a scalar, or alone and an array of scalars")

    def _check_code(self) -> None:
        """No value is put among a shell's commands or an interpreter's code, also not of one that ``timeout`` starts.

        Whether a word is an option or what an earlier option takes, only the program knows. So whatever follows the
        first that could be the one for code may be code, up to a word that is no option.
        """
        elements = [element for group, _ in self._groups for element in group]
        words = [self.program, *("".join(part.text for part in element.parts) for element in elements)]
        for place, word in enumerate(words):
            follows = _CODE.get(_VERSION.sub("", word.rpartition("/")[2]))
            if follows is None:
                continue
            code = False
            for text, element in zip(words[place + 1 :], elements[place:], strict=True):
                code = code or follows.fullmatch(text) is not None
                mixed = len(element.parts) > 1 and any(name not in self._files for name in element.names)
                if code and mixed:
                    raise SettingsError(
                        f"{self._where}: a shell or interpreter would read the value as code; {_INSTEAD}"
                    )
                if code and not text.startswith(("-", "+")):
                    break

    def _check_use(self, schema: Mapping[str, Any]) -> None:
        """Nothing that people approve is without effect, and files have one meaning each."""
        action = self._action
        if schema.get("additionalProperties", False) is not False:
            raise SettingsError(f"{self._where}: args_schema takes undeclared arguments, and a program is told of none")
        told = self.uses | action.input_files.keys() | ({action.stdin} if action.stdin else set())
        for name in sorted(told - self._properties.keys() - action.output_files.keys()):
            raise SettingsError(f"{self._where}: {name} is no declared property of args_schema")
        for name in sorted(self._properties.keys() - told):
            raise SettingsError(f"{self._where}: the argument {name} is not used")
        if set(action.output_files) & self._properties.keys():
            raise SettingsError(f"{self._where}: an output file has the name of an argument")
        if len(set(self._files.values())) != len(self._files):
            raise SettingsError(f"{self._where}: two files have one name in the scratch directory")
        for name in action.multiline:
            if name not in self.uses:
                raise SettingsError(f"{self._where}: multiline names {name}, which is not in the command line")

    # --- building ----------------------------------------------------------------------------------------------------

    def _present(self, name: str, args: Mapping[str, Any]) -> bool:
        return name in self._action.output_files or args.get(name) not in (None, [], ())

    def _words(self, element: _Element, args: Mapping[str, Any]) -> Iterator[str]:
        listed = next((name for name in element.names if isinstance(args.get(name), list | tuple)), None)
        if listed is None or listed in self._files:
            yield self._word(element, args)
            return
        for item in args[listed]:
            yield self._word(element, {**args, listed: item})

    def _word(self, element: _Element, args: Mapping[str, Any]) -> str:
        texts = [self._text(part.text, args) if part.is_name else part.text for part in element.parts]
        word = "".join(texts)
        if element.names and not word:
            raise misfit("an empty argument", element.names[0])
        if element.parts and element.parts[0].is_name and word.startswith("-") and not element.behind:
            raise misfit("a value that would be an option", element.names[0])
        return word

    def _text(self, name: str, args: Mapping[str, Any]) -> str:
        if name in self._files:
            return f"{SCRATCH}/{self._files[name]}"
        value = args[name]
        if isinstance(value, bool | int | float):
            return canonical(value).decode("ascii")
        if not isinstance(value, str):
            raise misfit("a value that is no scalar", name)
        if (_CONTROL_BUT_LINES if name in self._action.multiline else _CONTROL).search(value):
            raise misfit("a control character", name)
        try:
            value.encode()
        except UnicodeEncodeError:
            raise misfit("text that has no UTF-8", name) from None
        return value


def _types(schema: Mapping[str, Any]) -> frozenset[str]:
    said = schema.get("type")
    return frozenset(said) if isinstance(said, list) else frozenset({said} if isinstance(said, str) else ())
