"""Modules, functions, classes and methods with their signatures and documentation, read with `ast`.

`entries` parses sources (nothing is imported, so nothing runs) and gives one `Entry` a documented public
name, under the name people use: `asyncio.run`, though it is written in `asyncio/runners.py`.
Guarantees: public only (`__all__` decides where it is a literal); every entry has a documentation of at
least one paragraph; names are unique. Price: about 3 s for the whole library, nearly all of it parsing.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

Function = ast.FunctionDef | ast.AsyncFunctionDef
Names = dict[tuple[str, str], str]  # (module where it is written, name) -> module that offers it

LEAST_LINES, MOST_LINES = 3, 40  # of code that is worth showing, and that an answer can hold

_PLAIN = re.compile(r"(?:[^\s>*+|:.=-]|\.{3}|:[a-z]+:`)")  # how a line of running prose may begin
_TABLE = re.compile(r"\S {2,}(?<!\. {2})\S")  # columns; two spaces after a full stop are old typing


@dataclass(frozen=True)
class Entry:
    """One documented public name."""

    name: str  # "textwrap.dedent", "queue.Queue.put"
    module: str  # "textwrap", "queue": the module that offers it
    kind: str  # module | function | class | method
    signature: str  # "textwrap.dedent(text)"; "" for a module, and a class without a constructor of its own
    defaults: tuple[tuple[str, str], ...]  # (parameter, default or "") in order; "*args" keeps its star
    paragraphs: tuple[str, ...]  # the documentation, reflowed; never empty
    code: str = ""  # how it is written, its documentation left out; "" where that is long, or no code at all

    @property
    def summary(self) -> str:
        """The documentation's first paragraph."""
        return self.paragraphs[0]


def entries(sources: Iterable[tuple[str, bool, str]]) -> list[Entry]:
    """Every documented public name of these (module, is a package, text), sorted by name."""
    lines: dict[str, list[str]] = {}
    trees: dict[str, tuple[ast.Module, bool]] = {}
    for module, package, text in sources:
        trees[module], lines[module] = (_parse(text), package), text.splitlines()
    exports: Names = {}
    for module, (tree, package) in trees.items():
        if package:
            exports.update(_reexports(module, tree, trees))
    found: dict[str, Entry] = {}
    for module, (tree, _) in trees.items():
        for entry in _module_entries(module, tree, exports, lines[module]):
            found.setdefault(entry.name, entry)
    return [found[name] for name in sorted(found)]


def _parse(text: str) -> ast.Module:
    with warnings.catch_warnings():  # old sources hold invalid escapes, which is their business
        warnings.simplefilter("ignore")
        return ast.parse(text)


def _statements(body: Iterable[ast.stmt]) -> Iterator[ast.stmt]:
    """Top-level statements, those under `if` and `try` included: they too define names."""
    for node in body:
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            handlers = [line for handler in node.handlers for line in handler.body]
            yield from _statements([*node.body, *handlers, *node.orelse])
        else:
            yield node


def _declared(tree: ast.Module) -> set[str] | None:
    """The names in a literal `__all__`, or None where it has none or computes it."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            try:
                return set(ast.literal_eval(node.value))
            except ValueError:
                return None
    return None


def _defined(tree: ast.Module) -> set[str]:
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in _statements(tree.body) if isinstance(node, kinds)}


def _reexports(package: str, tree: ast.Module, trees: dict[str, tuple[ast.Module, bool]]) -> Names:
    """What a package's `__init__` takes from its own modules and offers under its own name."""
    names: Names = {}
    for node in _statements(tree.body):
        if not isinstance(node, ast.ImportFrom) or node.module is None:
            continue
        module = f"{package}.{node.module}" if node.level == 1 else node.module
        if not module.startswith(package + ".") or module not in trees:
            continue
        for alias in node.names:
            if alias.name == "*":
                source = trees[module][0]
                names |= {(module, name): package for name in _declared(source) or _defined(source)}
            elif alias.asname in (None, alias.name):
                names[module, alias.name] = package
    return {key: value for key, value in names.items() if not key[1].startswith("_")}


def _module_entries(module: str, tree: ast.Module, exports: Names, lines: list[str]) -> Iterator[Entry]:
    declared = _declared(tree)
    hidden = any(part.startswith("_") for part in module.split("."))
    about = paragraphs_of(ast.get_docstring(tree, clean=False))
    if about and not hidden:
        yield Entry(module, module, "module", "", (), about)
    for node in _statements(tree.body):
        if not isinstance(node, Function | ast.ClassDef) or node.name.startswith("_"):
            continue
        home = exports.get((module, node.name))
        if home is None and (hidden or (declared is not None and node.name not in declared)):
            continue
        yield from _node_entries(home or module, node, lines)


def _node_entries(module: str, node: Function | ast.ClassDef, lines: list[str]) -> Iterator[Entry]:
    name = f"{module}.{node.name}"
    paragraphs = paragraphs_of(ast.get_docstring(node, clean=False))
    if isinstance(node, ast.ClassDef):
        constructor = next((item for item in _methods(node) if item.name == "__init__"), None)
        if paragraphs:
            yield Entry(name, module, "class", *_signature(name, constructor, bound=True), paragraphs)
        for item in _methods(node):
            yield from _method_entries(module, name, item, lines)
    elif paragraphs and not _is_overload(node):
        code = _written(node, lines)
        yield Entry(name, module, "function", *_signature(name, node, bound=False), paragraphs, code)


def _method_entries(module: str, owner: str, node: Function, lines: list[str]) -> Iterator[Entry]:
    paragraphs = paragraphs_of(ast.get_docstring(node, clean=False))
    if node.name.startswith("_") or not paragraphs or _is_property(node) or _is_overload(node):
        return
    name = f"{owner}.{node.name}"
    bound = "staticmethod" not in {_decorator(item) for item in node.decorator_list}
    code = _written(node, lines)
    yield Entry(name, module, "method", *_signature(name, node, bound=bound), paragraphs, code)


def _written(node: Function, lines: list[str]) -> str:
    """The function as its authors wrote it, without its documentation; "" where it is trivial or long."""
    documentation = node.body[0]
    first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
    kept = [*lines[first - 1 : documentation.lineno - 1], *lines[documentation.end_lineno : node.end_lineno]]
    code = textwrap.dedent("\n".join(line.rstrip() for line in kept)).strip("\n")
    return code if len(node.body) > 1 and LEAST_LINES <= len(kept) <= MOST_LINES and "```" not in code else ""


def _methods(node: ast.ClassDef) -> list[Function]:
    return [item for item in node.body if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef)]


def _decorator(node: ast.expr) -> str:
    return ast.unparse(node.func if isinstance(node, ast.Call) else node).rsplit(".", 1)[-1]


def _is_property(node: Function) -> bool:
    """True for what is read rather than called."""
    names = {_decorator(item) for item in node.decorator_list}
    return bool(names & {"property", "cached_property", "setter", "getter", "deleter", "abstractproperty"})


def _is_overload(node: Function) -> bool:
    return "overload" in {_decorator(item) for item in node.decorator_list}


def _signature(name: str, node: Function | None, *, bound: bool) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The call as written, without `self`, and its parameters with their defaults."""
    if node is None:
        return "", ()
    arguments = node.args
    if bound and arguments.posonlyargs:
        arguments.posonlyargs = arguments.posonlyargs[1:]
    elif bound:
        arguments.args = arguments.args[1:]
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    call = f"{name}({ast.unparse(arguments)}){returns}"
    prefix = "await " if isinstance(node, ast.AsyncFunctionDef) else ""
    return prefix + call, _defaults(arguments)


def _defaults(arguments: ast.arguments) -> tuple[tuple[str, str], ...]:
    positional = [item.arg for item in [*arguments.posonlyargs, *arguments.args]]
    values = [ast.unparse(value) for value in arguments.defaults]
    rows = list(zip(positional, [""] * (len(positional) - len(values)) + values, strict=True))
    if arguments.vararg is not None:
        rows.append((f"*{arguments.vararg.arg}", ""))
    for item, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        rows.append((item.arg, "" if value is None else ast.unparse(value)))
    if arguments.kwarg is not None:
        rows.append((f"**{arguments.kwarg.arg}", ""))
    return tuple(rows)


def paragraphs_of(documentation: str | None) -> tuple[str, ...]:
    """A docstring's paragraphs; hard-wrapped prose becomes one line, code and tables stay as they are."""
    if not documentation:
        return ()
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(documentation.replace("\f", "")))
    return tuple(_reflow(block.rstrip()) for block in blocks if block.strip())


def _reflow(block: str) -> str:
    lines = block.split("\n")
    if all(_PLAIN.match(line) and not _TABLE.search(line) for line in lines):
        return re.sub(r" {2,}", " ", " ".join(line.strip() for line in lines))
    return block
