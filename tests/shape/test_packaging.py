"""What an installation holds, and what it asks for."""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = ("donation_svc", "payment_svc", "aggregator_svc")
PACKAGES = ("mesh", *SERVICES, "gateway", "cli", "sandbox", "client/giving_client")
# Asked for, and imported by nobody of ours: the reason stands beside each in pyproject.toml.
NOT_IMPORTED = {"httptools"}

_CHECK = """
import json, sys
import cli.main, giving_client
from gateway.pages import documents
from mesh.migrate import migrations_of
from mesh.postgres import load_queries

services = sys.argv[1:]
print(json.dumps({
    "from": sorted({module.__file__.rsplit("/", 2)[0] for module in (cli, giving_client)}),
    "queries": {package: len(load_queries(package)) for package in (*services, "mesh.events")},
    "migrations": {service: [f"{file.source}/{file.name}" for file in migrations_of(service)] for service in services},
    "pages": sorted(path.decode() for path in documents()),
}))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What pip would put into site-packages, from a copy of the sources."""
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", "node_modules")
    for name in ("client", "gen", "mesh", "gateway", "cli", "sandbox", *SERVICES):
        shutil.copytree(ROOT / name, folder / "sources" / name, ignore=ignored)
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, folder / "sources")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "-w", folder / "out", folder / "sources"], check=True, capture_output=True)
    (wheel,) = (folder / "out").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "installed")
    return folder / "installed"


@pytest.mark.requirement("SCL-4")
def test_an_installation_runs_without_the_repository(installed: Path, tmp_path: Path) -> None:
    # -S: without the environment's own .pth files, the repository can only be reached by what is asked for here.
    environment = {"PYTHONPATH": f"{installed}:{sysconfig.get_path('purelib')}", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-S", "-c", _CHECK, *SERVICES]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["from"] == [str(installed)]
    assert found["queries"] == {package: statements(package) for package in (*SERVICES, "mesh.events")}
    assert found["migrations"] == {service: [*migrations("mesh"), *migrations(service)] for service in SERVICES}
    assert {"/openapi.json", "/docs", "/docs/docs.js"} <= set(found["pages"])


def statements(package: str) -> int:
    text = (ROOT / package.replace(".", "/") / "queries.sql").read_text()
    return len(re.findall(r"^-- name: ", text, flags=re.MULTILINE))


def migrations(package: str) -> list[str]:
    return [f"{package}/{path.name}" for path in sorted((ROOT / package / "migrations").glob("*.sql"))]


def test_an_installation_holds_every_module_once_and_nothing_else(installed: Path) -> None:
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")}
    assert top == {
        "aggregator_svc",
        "buf",
        "cli",
        "donation_svc",
        "gateway",
        "giving",
        "giving_client",
        "mesh",
        "payment_svc",
        "sandbox",
    }
    assert len(list(installed.rglob("retries.py"))) == 1
    web = Path("gateway/web")
    assert {path.name for path in (installed / web).rglob("*")} == {path.name for path in (ROOT / web).rglob("*")}


def test_what_is_imported_is_asked_for_and_what_is_asked_for_is_imported() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    asked = {normal(re.split(r"[\[><=]", line)[0]) for line in declared}
    assert {normal(name) for module in imported() for name in distributions(module)} == asked - NOT_IMPORTED


def normal(name: str) -> str:
    return name.lower().replace("_", "-")


def imported() -> set[str]:
    """First parts of the names that our modules import; two for those under `google`."""
    names: set[str] = set()
    for package in (*PACKAGES, "gen"):
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    names.update(alias.name for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module:
                    names.add(node.module)
    ours = {Path(package).name for package in PACKAGES} | {"buf", "giving"}
    firsts = {".".join(name.split(".")[: 2 if name.startswith("google.") else 1]) for name in names}
    return {name for name in firsts if name not in ours | sys.stdlib_module_names}


# Several wheels share the package `google`.
_GOOGLE = {
    "google.api": "googleapis-common-protos",
    "google.rpc": "googleapis-common-protos",
    "google.protobuf": "protobuf",
}


def distributions(module: str) -> list[str]:
    return [_GOOGLE[module]] if module in _GOOGLE else metadata.packages_distributions()[module]
