"""Chat templates are untrusted code: they run in an immutable Jinja sandbox, with Hugging Face's names.

The environment is the one `apply_chat_template` gives a template (trim_blocks, lstrip_blocks, loop
controls, `tojson` without HTML escapes, `raise_exception`, `strftime_now`, `{% generation %}`), with three
differences: the date is frozen, output and loops are bounded, and `{% generation %}` writes two marks
around its block, which `render` takes out again and returns as character spans.

Guarantees: the rendered text is what `apply_chat_template` renders on the frozen date; a template that
raises, loops or grows without end gives a TemplateFailure, never anything else.
Price: about 10 µs a message of a Qwen-like template.
"""

from __future__ import annotations

import datetime
import json
import operator
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from types import CodeType
from typing import Any

import jinja2
from jinja2 import nodes
from jinja2.compiler import CodeGenerator, Frame
from jinja2.ext import Extension, loopcontrols
from jinja2.idtracking import VAR_LOAD_RESOLVE
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from tokenization.chat.control import FIRST_TYPED, GENERATION_START, GENERATION_STOP

MAX_CHARACTERS = 64 << 20  # of one rendering, or of one string made on the way
MAX_ITERATIONS = 1_000_000  # of `range` loops in one rendering
PIECES = 16  # of a rendering that are looked at together
MOST_KEPT = 64  # sources whose code and tree a process keeps: made in 10 ms, some 0.1 MB each
DEFAULT_DATE = datetime.date(2026, 1, 1)

_MARKS = re.compile(f"[{GENERATION_START}{GENERATION_STOP}]")
_ESCAPED_STAND_IN = re.compile(r"(?<!\\)((?:\\\\)*)\\u(db[c-f][0-9a-f])\\u(d[c-f][0-9a-f]{2})")


_OF_DICTS = frozenset(dir(dict))


class TemplateFailure(Exception):
    """A template could not render a session; `str(failure)` says why."""


@dataclass(frozen=True)
class Text:
    """One rendering: its text and where `{% generation %}` blocks stand in it."""

    text: str
    marks: tuple[tuple[int, int], ...] = ()  # half-open character spans, in order, not nested


class ChatEnvironment(ImmutableSandboxedEnvironment):
    """The sandbox; `begin` resets the budget of one rendering."""

    intercepted_binops = frozenset(["+", "*", "**"])

    def __init__(self, date: datetime.date, *, marks: bool = True) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols])
        self.code_generator_class = _Code
        self.marks = marks  # whether `{% generation %}` writes them
        # Names that the sources compiled here ask for, beside those that every template can name.
        self.asked: set[str] = set()
        self._iterations = 0
        self.filters["tojson"] = to_json
        self.globals.update(
            raise_exception=_raise_exception,
            strftime_now=date.strftime,
            range=self._bounded_range,
            namespace=_Namespace,
            dict=_new_dict,
        )

    def begin(self) -> None:
        self._iterations = 0

    def template(self, source: str) -> jinja2.Template:
        """The source as a template of this environment; another environment of its kind has made the code before."""
        key = type(self), self.marks, source
        if key == (ChatEnvironment, True, source):
            read_source(source)
        code = _CODES.get(key) or _kept(key, self.compile(source))
        return self.template_class.from_code(self, code, self.make_globals(None))

    def _bounded_range(self, *bounds: int) -> range:
        numbers = range(*bounds)
        self._iterations += len(numbers)
        if self._iterations > MAX_ITERATIONS:
            raise TemplateFailure(f"the template loops more than {MAX_ITERATIONS:,} times")
        return numbers

    def getattr(self, obj: Any, attribute: str) -> Any:
        """As the sandbox does, without the exception that it catches for a message's field: 1.2 us of every look."""
        if type(obj) is dict and attribute not in _OF_DICTS:
            return obj[attribute] if attribute in obj else self.undefined(obj=obj, name=attribute)
        return super().getattr(obj, attribute)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        if operator == "+":
            result = left + right
            if isinstance(result, str) and str.__len__(result) > MAX_CHARACTERS:
                raise TemplateFailure(f"the template makes a string above {MAX_CHARACTERS:,} characters")
            return result
        return _bounded_product(operator, left, right)


_CODES: dict[tuple[type[ChatEnvironment], bool, str], CodeType] = {}


def _kept(key: tuple[type[ChatEnvironment], bool, str], code: CodeType) -> CodeType:
    if len(_CODES) >= MOST_KEPT:
        _CODES.clear()
    _CODES[key] = code
    return code


@lru_cache(maxsize=MOST_KEPT)
def read_source(source: str) -> tuple[nodes.Template, frozenset[str]]:
    """A source's tree, sums of its constants made, and the names that it asks for; the tree is not to be changed.

    The sandbox's code for it is made, and kept, on the way: parsing it again takes 10 ms, and so does asking for the
    names alone.
    """
    environment = ChatEnvironment(DEFAULT_DATE)
    tree = environment.parse(source)
    _kept((ChatEnvironment, True, source), environment.compile(tree))  # this makes the sums, in place
    return tree, frozenset(environment.asked)


def _bounded_product(operation: str, left: Any, right: Any) -> Any:
    if operation == "**":
        if abs(left) > 1_000_000 or abs(right) > 64:
            raise TemplateFailure(f"the template computes {left} ** {right}")
        return left**right
    for repeated, times in ((left, right), (right, left)):
        if isinstance(repeated, str | list | tuple) and isinstance(times, int):
            size = operator.length_hint(repeated)
            if size * times > MAX_CHARACTERS:
                raise TemplateFailure(f"the template repeats {size} items {times} times")
    return left * right


class _Code(CodeGenerator):
    """Python for templates in which a text beside a short written one is added without a look at its length: half of a
    message's sums are such, and MAX_ITERATIONS of them come to MAX_CHARACTERS. The environment is told which names are
    asked for (as by `jinja2.meta.find_undeclared_variables`, which would make the code once more)."""

    environment: ChatEnvironment

    def enter_frame(self, frame: Frame) -> None:
        super().enter_frame(frame)
        known = self.environment.globals
        self.environment.asked |= {
            name
            for action, name in frame.symbols.loads.values()
            if action == VAR_LOAD_RESOLVE and name not in known
        }

    def visit_Add(self, node: nodes.BinExpr, frame: Any) -> None:
        if not (_is_short(node.left) or _is_short(node.right)):
            super().visit_Add(node, frame)
            return
        self.write("(")
        self.visit(node.left, frame)
        self.write(" + ")
        self.visit(node.right, frame)
        self.write(")")


def _is_short(part: nodes.Expr) -> bool:
    most = MAX_CHARACTERS // MAX_ITERATIONS
    return isinstance(part, nodes.Const) and type(part.value) is str and len(part.value) <= most


class Generation(Extension):
    """`{% generation %}`: marks around its block, so that nesting and captured blocks keep their place."""

    tags = {"generation"}  # noqa: RUF012  (jinja2 declares it so)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """The block in a scope of its own, as a call block's is, without the call: 4 us of every answer."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        if not getattr(self.environment, "marks", True):
            return [nodes.Scope(body).set_lineno(line)]
        start, stop = (
            nodes.Output([nodes.TemplateData(mark)]).set_lineno(line)
            for mark in (GENERATION_START, GENERATION_STOP)
        )
        return [start, nodes.Scope(body).set_lineno(line), stop]


class _Namespace(jinja2.utils.Namespace):
    """`namespace()` without names that reach into Python."""

    def __init__(*arguments: Any, **values: Any) -> None:
        for name in dict(*arguments[1:], **values):
            _refuse_private(name)
        jinja2.utils.Namespace.__init__(*arguments, **values)

    def __setitem__(self, name: str, value: Any) -> None:
        _refuse_private(name)
        super().__setitem__(name, value)


def _refuse_private(name: object) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise TemplateFailure(f"the template stores {name!r} on a namespace; names must not begin with _")


def _new_dict(*arguments: Any, **values: Any) -> dict[Any, Any]:
    return dict(*arguments, **values)


def _raise_exception(message: str) -> None:
    raise TemplateFailure(str(message))


def to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as `apply_chat_template` writes it: keys in their order, no HTML escapes."""
    text = json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
    return _ESCAPED_STAND_IN.sub(_stand_in_again, text) if ensure_ascii else text


def _stand_in_again(match: re.Match[str]) -> str:
    """`ensure_ascii` writes a stand-in as an escaped surrogate pair; it must stay one character."""
    high, low = int(match[2], 16), int(match[3], 16)
    code = 0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)
    return match[1] + (chr(code) if code >= FIRST_TYPED else match[0][len(match[1]) :])


class CompiledTemplate:
    """One template's code in one environment."""

    def __init__(self, source: str, environment: ChatEnvironment) -> None:
        self.environment = environment
        try:
            self._template = environment.template(source)
        except jinja2.TemplateSyntaxError as error:
            raise TemplateFailure(f"line {error.lineno}: {error.message}") from error
        self._globals = dict(
            self._template.globals
        )  # once: Jinja walks its ChainMap for every context, 30 us

    def render(self, variables: Mapping[str, Any]) -> Text:
        """The text for these variables; a TemplateFailure where the template raises."""
        return split_marks(self.text(self.with_globals(variables)))

    def with_globals(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        """All that the template can name."""
        return {**self._globals, **variables}

    def text(self, names: dict[str, Any]) -> str:
        """What is written where the template can name these, marks included, as `render` says."""
        self.environment.begin()
        try:
            context = jinja2.runtime.new_context(
                self.environment,
                self._template.name,
                self._template.blocks,
                names,
                shared=True,
                globals=self._globals,
            )
            return "".join(self._bounded(context))
        except TemplateFailure:
            raise
        except RecursionError as error:
            raise TemplateFailure("the template calls itself without end") from error
        except (jinja2.TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise TemplateFailure(f"{error}" or type(error).__name__) from error
        except (AttributeError, MemoryError) as error:
            raise TemplateFailure(f"{type(error).__name__}: {error}") from error

    def _bounded(self, context: jinja2.runtime.Context) -> list[str]:
        """The pieces of one rendering, a few at a time, for one may be MAX_CHARACTERS long itself."""
        written = self._template.root_render_func(context)
        pieces: list[str] = []
        characters = 0
        while few := list(islice(written, PIECES)):
            characters += sum(map(str.__len__, few))
            if characters > MAX_CHARACTERS:
                raise TemplateFailure(f"the rendering is above {MAX_CHARACTERS:,} characters")
            pieces += few
            if len(few) < PIECES:
                break
        return pieces


def split_marks(marked: str) -> Text:
    """The text without the marks of `{% generation %}`, and the spans they mark (outermost ones)."""
    if GENERATION_START not in marked:
        return Text(marked)
    return _split_flat(marked) or _split_nested(marked)


def _split_flat(marked: str) -> Text | None:
    """The same where each mark that opens is followed by one that closes, as nearly always; else None."""
    first, *blocks = marked.split(GENERATION_START)
    if GENERATION_STOP in first:
        return None
    pieces = [first]
    spans: list[tuple[int, int]] = []
    position = len(first)
    for block in blocks:
        inside, stop, behind = block.partition(GENERATION_STOP)
        if not stop or GENERATION_STOP in behind:
            return None
        if inside:
            spans.append((position, position + len(inside)))
        pieces += (inside, behind)
        position += len(inside) + len(behind)
    return Text("".join(pieces), tuple(spans))


def _split_nested(marked: str) -> Text:
    pieces: list[str] = []
    spans: list[tuple[int, int]] = []
    position = read = depth = begin = 0
    for match in _MARKS.finditer(marked):
        pieces.append(marked[read : match.start()])
        position += match.start() - read
        read = match.end()
        if match[0] == GENERATION_START:
            begin = position if depth == 0 else begin
            depth += 1
        else:
            depth -= 1
            if depth == 0 and position > begin:
                spans.append((begin, position))
    pieces.append(marked[read:])
    return Text("".join(pieces), tuple(spans))
