"""Report how large the sources are: the longest files, classes and functions, and the most parameters. Nothing fails."""

from __future__ import annotations

import ast
import heapq
from pathlib import Path

ROOT = Path(__file__).parents[2]

SHOWN = 5
"""How many of each kind are printed."""

SELVES = {"self", "cls", "mcs", "mcls"}
"""What the first parameter of a method is called: it is not counted."""

Size = tuple[int, str]
"""How much, and the place: the file with the line."""


def lines(node: ast.stmt) -> int:
    """Count the lines of a definition, its docstring without."""
    documented = isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and ast.get_docstring(node)
    docstring = len(documented.splitlines()) if documented else 0
    return (node.end_lineno or node.lineno) - node.lineno + 1 - docstring


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Count the parameters of a function but ``self`` and its like."""
    of = function.args
    named = [*of.posonlyargs, *of.args, *of.kwonlyargs, *filter(None, (of.vararg, of.kwarg))]
    return sum(one.arg not in SELVES for one in named)


def measure(path: Path) -> dict[str, list[Size]]:
    """Measure one file and what is defined in it."""
    source = path.read_text(encoding="utf-8")
    where = str(path.relative_to(ROOT))
    found: dict[str, list[Size]] = {
        "lines of a file": [(len(source.splitlines()), where)],
        "lines of a class": [],
        "methods": [],
        "lines of a function": [],
        "parameters": [],
    }
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.ClassDef(name=name):
                methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
                found["lines of a class"].append((lines(node), f"{where}:{node.lineno} {name}"))
                found["methods"].append((len(methods), f"{where}:{node.lineno} {name}"))
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                found["lines of a function"].append((lines(node), f"{where}:{node.lineno} {name}"))
                found["parameters"].append((parameters(node), f"{where}:{node.lineno} {name}"))
    return found


def report() -> None:
    """Print the largest of each kind."""
    sizes: dict[str, list[Size]] = {}
    for path in sorted(ROOT.glob("packages/*/src/**/*.py")):
        for kind, found in measure(path).items():
            sizes.setdefault(kind, []).extend(found)
    for kind, found in sizes.items():
        print(f"Largest, by {kind}:")
        for size, where in heapq.nlargest(SHOWN, found):
            print(f"{size:7,}  {where}")


if __name__ == "__main__":
    report()
