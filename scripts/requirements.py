"""Prints each requirement of docs/requirements.md with the tests that prove it.

    python scripts/requirements.py [--list FILE] [--tests FOLDER]

Fails where a test names an id that the list does not hold. An id without a test is printed as not proven.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_ROW = re.compile(r"^\|\s*([A-Z]+-\d+)\s*\|\s*(.*?)\s*\|\s*$")
_MARK = "requirement"


def promises(text: str) -> dict[str, str]:
    """Ids and what they promise, from the rows `| id | promise |` of a markdown table."""
    return dict(row.groups() for row in map(_ROW.match, text.splitlines()) if row)


def proofs(path: Path) -> Iterator[tuple[str, str]]:
    """Pairs of id and test of one file; marks of a class or of the module count for every test in it."""
    tree = ast.parse(path.read_text(), filename=str(path))
    name = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    yield from ((requirement, f"{name}::{test}") for requirement, test in _of_block(tree, _module_marks(tree), ""))


def _of_block(block: ast.Module | ast.ClassDef, inherited: Sequence[str], prefix: str) -> Iterator[tuple[str, str]]:
    for node in block.body:
        if isinstance(node, ast.ClassDef):
            yield from _of_block(node, [*inherited, *_decorator_marks(node)], f"{prefix}{node.name}::")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            for requirement in dict.fromkeys([*inherited, *_decorator_marks(node)]):
                yield requirement, f"{prefix}{node.name}"


def _decorator_marks(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    return [name for decorator in node.decorator_list for name in _marks(decorator)]


def _module_marks(tree: ast.Module) -> list[str]:
    """The ids in `pytestmark = …`."""
    assignments = [node for node in tree.body if isinstance(node, ast.Assign)]
    named = [node for node in assignments if any(getattr(target, "id", "") == "pytestmark" for target in node.targets)]
    return [name for node in named for name in _marks(node.value)]


def _marks(expression: ast.AST) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == _MARK:
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def report(listed: Mapping[str, str], found: Mapping[str, Sequence[str]]) -> bool:
    """Prints everything; whether the tests name only listed ids."""
    for name, promise in listed.items():
        tests = found.get(name, ())
        print(f"{name}  {promise}" + ("" if tests else "  — not proven by a test yet"))
        for test in tests:
            print(f"    {test}")
    unknown = sorted(found.keys() - listed.keys())
    for name in unknown:
        print(f"{name} is not in the list, but named by {', '.join(found[name])}", file=sys.stderr)
    print(f"{len(listed.keys() & found.keys())} of {len(listed)} are proven by tests")
    return not unknown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", type=Path, default=ROOT / "docs" / "requirements.md")
    parser.add_argument("--tests", type=Path, default=ROOT / "tests")
    options = parser.parse_args()
    if not options.list.exists():
        print(f"{options.list.name} is missing: the list of what is promised", file=sys.stderr)
        return 1
    found: dict[str, list[str]] = defaultdict(list)
    for path in sorted(options.tests.rglob("test_*.py")):
        for requirement, test in proofs(path):
            found[requirement].append(test)
    return 0 if report(promises(options.list.read_text()), found) else 1


if __name__ == "__main__":
    sys.exit(main())
