"""Habits of the whole workspace, read from the syntax trees of its files: typed, documented, imported on top, no mocks."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCES = sorted(ROOT.glob("packages/*/src/**/*.py"))
TESTS = sorted(
    path for top in ("packages/*/tests", "tests", "integration-tests") for path in ROOT.glob(f"{top}/**/*.py")
)
OWN = {path.name for path in ROOT.glob("packages/*/src/*") if path.is_dir()}

EXCEPTIONS: dict[str, str] = {
    "stream_app.app:App.worker late_imports": "mode's worker takes a while to load, and programs that embed an app need none",
    "stream_cli.entry:main late_imports": "Ctrl+C while the program is loaded is answered in a word",
    "stream_app.app:App.main late_imports": "only a program that is a command line loads one",
}
"""What may break a habit: ``package.module:Name.method check`` and the reason. One that is not needed fails."""

SELVES = {"self", "cls", "mcs", "mcls"}
"""What the first parameter of a method is called: it is neither counted nor annotated."""

NO_VERB = re.compile(
    r"(an?|all|another|any|as|both|each|every(thing)?|how|if|it|its|neither|no|nobody|nothing|one|several|some|somebody|that|the|their"
    r"|th[eo]se|this|what(ever)?|when|where|whether|which|while|who(ever|se)?|why|with(out)?)\b",
    re.IGNORECASE,
)
"""What no sentence begins with that says what a function does."""

MOCKS = {"AsyncMock", "MagicMock", "Mock", "NonCallableMock", "PropertyMock", "create_autospec", "mocker"}

Function = ast.FunctionDef | ast.AsyncFunctionDef
Finding = tuple[str, str]
"""The place, in the form of EXCEPTIONS, and what is wrong there."""


def functions(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """All functions with their qualified names, nested ones too."""

    def visit(node: ast.AST, names: tuple[str, ...]) -> Iterator[tuple[str, Function]]:
        for child in ast.iter_child_nodes(node):
            inner = (*names, child.name) if isinstance(child, Function | ast.ClassDef) else names
            if isinstance(child, Function):
                yield ".".join(inner), child
            yield from visit(child, inner)

    return visit(tree, ())


def parameters(function: Function) -> list[ast.arg]:
    """The parameters of a function but ``self`` and its like."""
    of = function.args
    named = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
    return [one for one in named if one.arg not in SELVES]


def unannotated(tree: ast.Module, source: str) -> Iterator[Finding]:
    """Functions with a parameter or a result that has no annotation."""
    for name, function in functions(tree):
        missing = [one.arg for one in parameters(function) if one.annotation is None]
        missing += ["return"] * (function.returns is None)
        if missing:
            yield name, f"no annotation of {', '.join(missing)}"


def late_imports(tree: ast.Module, source: str) -> Iterator[Finding]:
    """Functions that import modules of ours: the layers must hold at import time."""
    for name, function in functions(tree):
        for node in ast.walk(function):
            if isinstance(node, ast.ImportFrom) and (node.level or (node.module or "").split(".")[0] in OWN):
                yield name, f"imports {'.' * node.level}{node.module or ''} inside a function"
            elif isinstance(node, ast.Import) and (
                found := {a.name for a in node.names if a.name.split(".")[0] in OWN}
            ):
                yield name, f"imports {', '.join(sorted(found))} inside a function"


def undocumented(tree: ast.Module, source: str) -> Iterator[Finding]:
    """Modules without a docstring."""
    if not ast.get_docstring(tree):
        yield "", "no docstring"


def situations(tree: ast.Module, source: str) -> Iterator[Finding]:
    """Functions whose docstring tells what there is, and not what they do. A property is a noun, and a check of a contract a sentence."""
    of_contract = set(re.findall(r"\w+", source.partition("CHECKS = ")[2]))
    for name, function in functions(tree):
        decorators = " ".join(map(ast.unparse, function.decorator_list))
        found = NO_VERB.match(ast.get_docstring(function) or "")
        if found and name not in of_contract and not re.search("property|fixture", decorators):
            yield name, f"begins with {found[0]!r}"


def mocks(tree: ast.Module, source: str) -> Iterator[Finding]:
    """Tests that replace parts of the program instead of using its in-memory implementations."""
    for node in ast.walk(tree):
        found = None
        match node:
            case ast.Import(names=names) if any(a.name in {"mock", "unittest.mock"} for a in names):
                found = "import of mock"
            case ast.ImportFrom(module="mock" | "unittest.mock"):
                found = "import of mock"
            case ast.ImportFrom(module="unittest", names=names) if any(a.name == "mock" for a in names):
                found = "import of mock"
            case ast.Name(id=word) | ast.Attribute(attr=word) | ast.arg(arg=word) if word in MOCKS:
                found = word
            case ast.Attribute(value=ast.Name(id="monkeypatch"), attr="setattr" | "setitem" | "delattr" as word):
                found = f"monkeypatch.{word}"
        if found:
            yield f"line {getattr(node, 'lineno', 0)}", found


Check = Callable[[ast.Module, str], Iterator[Finding]]
OF_SOURCES: list[Check] = [unannotated, late_imports, undocumented, situations]


def module_name(path: Path) -> str:
    """The dotted name of a source file, the path of a test file."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[3:]).removesuffix(".__init__") if parts[2:3] == ("src",) else "/".join(parts)


def findings(check: Check, paths: list[Path]) -> dict[str, str]:
    """What ``check`` finds in ``paths``, by the key that an exception would have."""
    found: dict[str, str] = {}
    for path in paths:
        source = path.read_text(encoding="utf-8")
        for name, problem in check(ast.parse(source), source):
            found[f"{module_name(path)}:{name} {check.__name__}"] = problem
    return found


@pytest.mark.parametrize("check", OF_SOURCES, ids=lambda check: check.__name__)
def test_sources_keep_the_habits(check: Check) -> None:
    """No source file breaks a habit without a reason in EXCEPTIONS, and no exception outlives its need."""
    found = findings(check, SOURCES)
    allowed = {key for key in EXCEPTIONS if key.endswith(f" {check.__name__}")}
    broken = [f"{key}: {problem}" for key, problem in found.items() if key not in allowed]
    assert not broken, "\n".join(broken)
    assert allowed <= found.keys(), "EXCEPTIONS lists what is not needed any more"


def test_tests_use_no_mocks() -> None:
    """No test replaces parts of the program: the ports have in-memory implementations."""
    found = [f"{key}: {problem}" for key, problem in findings(mocks, TESTS).items()]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (unannotated, "class C:\n    async def m(self, a) -> None: ..."),
        (unannotated, "class C:\n    def __init__(self): ..."),
        (late_imports, "def f():\n    import stream_core.primitives"),
        (late_imports, "class C:\n    def m(self):\n        from stream_core import records"),
        (undocumented, "x = 1"),
        (situations, "def f():\n    'The name.'"),
        (mocks, "from unittest import mock"),
        (mocks, "def test(mocker): ..."),
        (mocks, "monkeypatch.setattr(module, 'name', 1)"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_check_finds_what_it_looks_for(check: Check, source: str) -> None:
    """A check that finds nothing in bad code would hold no habit."""
    assert list(check(ast.parse(source), source))


@pytest.mark.parametrize(
    ("check", "source"),
    [
        (unannotated, "class C:\n    def m(self, *a: int, **k: str) -> None: ..."),
        (late_imports, "from stream_core import records\ndef f():\n    import uvloop"),
        (undocumented, '"""What it is."""'),
        (
            situations,
            "class C:\n    'A name.'\n    def f():\n        'Return the name.'\n    @property\n    def p():\n        'The name.'",
        ),
        (mocks, "client.patch('/topics')\nmonkeypatch.setenv('STREAM_BROKER', 'memory://')"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_each_check_lets_good_code_pass(check: Check, source: str) -> None:
    """Code that keeps the habits is not complained about."""
    assert list(check(ast.parse(source), source)) == []


def test_there_is_something_to_check() -> None:
    """The patterns find the packages and their tests; a moved directory must not turn the checks off."""
    assert {"faust", "stream_app", "stream_core", "stream_kafka"} <= OWN
    assert SOURCES
    assert Path(__file__) in TESTS
