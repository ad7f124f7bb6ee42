"""The contract: complete, linted, unbroken, and the only source of gen/."""

from __future__ import annotations

import filecmp
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from google.api import annotations_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.descriptor_pool import Default

import aggregator_svc.api
import donation_svc.api
import mesh.events.api
import payment_svc.api
from mesh.rpc.contract import Method, methods_of, services_of

ROOT = Path(__file__).parents[2]
MODULES = [
    import_module(str(path.relative_to(ROOT / "gen").with_suffix("")).replace("/", "."))
    for path in sorted((ROOT / "gen/giving").rglob("*_pb2.py"))
]
# Where handlers are written.
APIS = (donation_svc.api, payment_svc.api, aggregator_svc.api, mesh.events.api)
METHODS = methods_of(services_of(MODULES))
FLOATS = {FieldDescriptor.TYPE_FLOAT, FieldDescriptor.TYPE_DOUBLE}

# In the contract and not built yet. This list only shrinks.
NOT_BUILT = {
    "AuthService": {"Authenticate", "CreateApiKey", "RevokeApiKey", "RotateApiKey"},
    "CampaignService": {"CloseCampaign"},
    "DonationOperationsService": {"EraseDonor", "SetIntake"},
    "DonationService": {"ListMyDonations", "RecordDonations"},
    "NotificationService": {"CreateEndpoint", "GetReceipt", "ListEndpoints", "ResendReceipt"},
}  # fmt: skip


def gen_script(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts/gen.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)


@pytest.mark.requirement("WEB-1")
def test_generated_code_is_what_the_contract_generates_today(tmp_path: Path) -> None:
    done = gen_script("--out", str(tmp_path / "gen"))
    assert done.returncode == 0, done.stderr
    fresh = {path.relative_to(tmp_path / "gen") for path in (tmp_path / "gen").rglob("*") if path.is_file()}
    held = {
        path.relative_to(ROOT / "gen")
        for path in (ROOT / "gen").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert fresh == held, "run `make gen`"
    _, different, unreadable = filecmp.cmpfiles(tmp_path / "gen", ROOT / "gen", [str(path) for path in fresh], shallow=False)
    assert (different, unreadable) == ([], []), "run `make gen`"


def test_the_contract_is_linted_and_breaks_nobody_who_uses_the_last_release() -> None:
    assert (ROOT / "proto/release.binpb").exists()
    done = gen_script("--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_method_says_who_may_call_it() -> None:
    assert all(method.policy.roles for method in METHODS.values())


def test_every_idempotency_field_exists_and_every_posted_method_has_one() -> None:
    wrong = [
        path
        for path, method in METHODS.items()
        if (field := method.policy.idempotency_field)
        and not method.streams_in
        and field not in method.request_class.DESCRIPTOR.fields_by_name
    ]
    posted = [path for path, method in METHODS.items() if _posts(method) and not method.mutates]
    assert (wrong, posted) == ([], [])


READS = ("Get", "List", "Watch", "Follow", "Verify", "Stream", "Trace", "Authenticate", "HandleProviderWebhook")


@pytest.mark.requirement("IDM-1")
def test_every_method_that_changes_something_takes_a_key() -> None:
    """A provider's webhook carries the provider's own event id; a signed call its nonce."""
    without = {path for path, method in METHODS.items() if not method.mutates}
    assert {path for path in without if not path.rpartition("/")[2].startswith(READS)} == set()


def _posts(method: Method) -> bool:
    return bool(method.descriptor.GetOptions().Extensions[annotations_pb2.http].post)


def test_no_two_methods_share_a_route() -> None:
    routes = [
        (rule.WhichOneof("pattern"), getattr(rule, rule.WhichOneof("pattern")))
        for method in METHODS.values()
        if (rule := method.descriptor.GetOptions().Extensions[annotations_pb2.http]).WhichOneof("pattern")
    ]
    assert len(routes) == len(set(routes))


@pytest.mark.requirement("PAY-10")
def test_no_field_of_the_contract_is_a_float_and_minor_units_are_int64() -> None:
    wrong = [
        field.full_name
        for path in (ROOT / "proto/giving").rglob("*.proto")
        for message in _messages(str(path.relative_to(ROOT / "proto")))
        for field in message.fields
        if field.type in FLOATS or ("minor_units" in field.name and field.type != FieldDescriptor.TYPE_INT64)
    ]
    assert wrong == []


def _messages(file_name: str) -> list:
    top = list(Default().FindFileByName(file_name).message_types_by_name.values())
    return top + [nested for message in top for nested in message.nested_types]


@pytest.mark.parametrize("service", sorted({path.split("/")[1].split(".")[-1] for path in METHODS}))
def test_methods_that_are_not_built_are_listed(service: str) -> None:
    methods = [path for path in METHODS if path.split("/")[1].endswith(f".{service}")]
    built = {name for path in methods if _is_built(service, name := path.rpartition("/")[2])}
    assert {path.rpartition("/")[2] for path in methods} - built == NOT_BUILT.get(service, set())


def _is_built(service: str, method: str) -> bool:
    """Whether a servicer of ours has the method."""
    handlers = (known for api in APIS for known in vars(api).values() if isinstance(known, type))
    return any(issubclass(known, _servicer(service)) and method in vars(known) for known in handlers)


def _servicer(service: str) -> type:
    for module in MODULES:
        if not module.__name__.endswith("_service_pb2"):
            continue
        grpc_module = import_module(f"{module.__name__}_grpc")
        if hasattr(grpc_module, f"{service}Servicer"):
            return getattr(grpc_module, f"{service}Servicer")
    raise LookupError(service)
