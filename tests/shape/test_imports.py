"""Who may import whom, and which file plays which role."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("donation_svc", "payment_svc", "aggregator_svc")
PACKAGES = ("mesh", *SERVICES, "gateway", "cli", "sandbox", "chaos")
OURS = {*PACKAGES, "giving", "giving_client"}
MAY_IMPORT = {
    "mesh": {"mesh", "giving"},
    **{service: {service, "mesh", "giving"} for service in SERVICES},
    "gateway": {"gateway", "mesh", "giving"},
    "cli": {"cli", "mesh", "giving", "giving_client"},
    "sandbox": {"sandbox", "mesh"},
    "chaos": {"chaos", "cli", "giving_client"},
    "client/giving_client": {"giving_client", "giving"},
}
# Third party → the packages and modules that may import it: `*.store` is every service's store, a file or a folder.
ONLY_IN = {
    "asyncpg": ("mesh", "*.store", "cli", "chaos.reading", "chaos.sampler"),
    "redis": ("aggregator_svc.cache", "mesh.limits", "cli", "chaos.nemesis"),
    "nats": ("mesh", "cli"),
    "stripe": ("payment_svc.provider",),
}
ROLES = {
    "__init__", "__main__", "app", "config", "api", "consumer", "service", "domain", "store", "queries", "migrations",
    "clients", "provider", "convert", "refusals",
}  # fmt: skip
EXTRAS = {
    "donation_svc": {"feed", "sweeper"},
    "payment_svc": {"ledger", "metrics", "poller", "reconciler", "settlement"},
    "aggregator_svc": {"cache", "feed", "metrics", "verifier"},
}
GATEWAY_ROLES = {
    "__init__", "__main__", "app", "config", "api", "clients", "convert", "webhooks",
    # What HTTP asks for and gRPC does not.
    "cache", "connection", "cors", "exchange", "follow", "guests", "identity", "metrics", "openapi", "pack", "pages",
    "problems", "readiness", "server", "sse", "transcode", "web",
}  # fmt: skip
BANNED_NAMES = {"utils", "helpers", "common", "manager", "base", "impl"}


def modules(package: str) -> Iterator[Path]:
    return (path for path in (ROOT / package).rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Full names of what a module imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_packages_import_only_what_stands_below_them(package: str) -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules(package)
        for name in imports(path)
        if name.split(".")[0] in OURS - MAY_IMPORT[package]
    ]
    assert wrong == []


def test_plumbing_knows_nothing_of_donations() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("mesh")
        for name in imports(path)
        if name.startswith("giving.") and not name.startswith("giving.common.")
    ]
    assert wrong == []


def test_drivers_are_imported_only_where_they_belong() -> None:
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in PACKAGES
        for path in modules(package)
        for name in imports(path)
        if not _allowed(name.split(".")[0], path.relative_to(ROOT).with_suffix("").parts)
    ]
    assert wrong == []


def _allowed(library: str, parts: tuple[str, ...]) -> bool:
    return library not in ONLY_IN or any(_lies_in(parts, place.split(".")) for place in ONLY_IN[library])


def _lies_in(parts: tuple[str, ...], place: list[str]) -> bool:
    return len(parts) >= len(place) and all(want in ("*", part) for want, part in zip(place, parts, strict=False))


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("donation_svc/store", True),
        ("donation_svc/store/rows", True),
        ("payment_svc/store", True),
        ("payment_svc/restore", False),
        ("payment_svc/bookstore/rows", False),
        ("payment_svc/service/store", False),
        ("gateway/api", False),
        ("meshwork/postgres", False),
    ],
)
def test_a_place_is_a_whole_name_and_never_a_part_of_one(module: str, allowed: bool) -> None:
    assert _allowed("asyncpg", tuple(module.split("/"))) == allowed


@pytest.mark.parametrize("service", SERVICES)
def test_pure_rules_import_only_the_standard_library_and_money(service: str) -> None:
    files = [*modules(f"{service}/domain"), *(ROOT / service).glob("domain.py")]
    names = {name for path in files for name in imports(path)}
    theirs = {name for name in names if name.split(".")[0] not in sys.stdlib_module_names}
    assert files
    assert {name for name in theirs if not name.startswith(f"{service}.domain.")} <= {"mesh", "mesh.money"}


@pytest.mark.parametrize("service", SERVICES)
def test_the_same_role_has_the_same_file_name(service: str) -> None:
    names = {path.name.removesuffix(".py").removesuffix(".sql") for path in (ROOT / service).iterdir()}
    assert names - {"__pycache__"} <= ROLES | EXTRAS.get(service, set())
    assert {"__init__", "__main__", "app", "config", "api", "service", "domain", "store", "migrations"} <= names


def test_the_gateways_files_have_the_names_of_their_roles() -> None:
    names = {path.name.removesuffix(".py") for path in (ROOT / "gateway").iterdir()} - {"__pycache__"}
    assert names == GATEWAY_ROLES


def test_no_file_has_a_name_that_says_nothing() -> None:
    names = {path.stem for package in PACKAGES for path in modules(package)}
    assert names & BANNED_NAMES == set()


def test_modules_do_nothing_when_they_are_imported() -> None:
    """Only definitions, constants and names stand at the top; a call there is a constant's value or a declaration."""
    wrong = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for package in PACKAGES
        for path in modules(package)
        if path.name != "__main__.py"
        for node in ast.parse(path.read_text()).body
        if isinstance(node, ast.For | ast.While | ast.With | ast.Try)
        or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call))
    ]
    assert wrong == []
