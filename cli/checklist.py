"""What `mesh check` found: a line for each invariant, or one object for machines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from cli.check import Line, Verdict, exit_code
from cli.invariants.catalogue import INVARIANTS

_MARKS: Mapping[Verdict, str] = {
    Verdict.HOLDS: "[green]✓[/]",
    Verdict.VIOLATED: "[bold red]✗[/]",
    Verdict.SKIPPED: "[dim]·[/]",
    Verdict.UNREAD: "[yellow]?[/]",
}
_NAME_WIDTH = max(len(invariant.name) for invariant in INVARIANTS)


async def show(console: Console, lines: AsyncIterator[Line]) -> int:
    """One line per invariant for people, violations indented below; returns the exit code."""
    shown = []
    async for line in lines:
        shown.append(line)
        console.print(_head(line), highlight=False, soft_wrap=True)
        for words in _below(line):
            console.print(f"      {escape(words)}", highlight=False, soft_wrap=True)
    return exit_code(shown)


def _head(line: Line) -> str:
    invariant, findings = line.invariant, line.findings
    told = {
        Verdict.HOLDS: f"{findings.checked:,} {invariant.unit}",
        Verdict.VIOLATED: f"[red]{findings.violated:,} violations[/] in {findings.checked:,} {invariant.unit}",
        Verdict.SKIPPED: f"not checkable here: {escape(line.reason)}",
        Verdict.UNREAD: f"could not be checked: {escape(line.reason)}",
    }
    notes = [*findings.notes, f"not all was checked: {line.reason}"] if _is_cut_short(line) else findings.notes
    words = [f"{told[line.verdict]}, {line.ms} ms", *map(escape, notes)]
    return f"{_MARKS[line.verdict]} {invariant.number:<4}{invariant.name:<{_NAME_WIDTH}}  {'; '.join(words)}"


def _is_cut_short(line: Line) -> bool:
    return line.verdict is Verdict.VIOLATED and bool(line.reason)


def _below(line: Line) -> Sequence[str]:
    findings = line.findings
    words = [f"{violation.key}: {violation.words}" for violation in findings.violations]
    if (more := findings.violated - len(words)) > 0:
        words.append(f"and {more:,} more")
    return words


async def document(lines: AsyncIterator[Line]) -> tuple[str, int]:
    """One JSON object for machines, and the exit code."""
    listed = [line async for line in lines]
    code = exit_code(listed)
    return json.dumps({"ok": code == 0, "invariants": [_entry(line) for line in listed]}, ensure_ascii=False), code


def _entry(line: Line) -> dict[str, object]:
    return {
        "number": line.invariant.number,
        "name": line.invariant.name,
        "verdict": line.verdict.value,
        "reason": line.reason,
        "checked": line.findings.checked,
        "violated": line.findings.violated,
        "violations": [{"key": violation.key, "words": violation.words} for violation in line.findings.violations],
        "notes": line.findings.notes,
        "ms": line.ms,
    }
