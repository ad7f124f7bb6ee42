"""Generates gen/ from proto/, offline: Python modules, their type stubs, the descriptor image and OpenAPI.

    python scripts/gen.py [--out FOLDER] [--check] [--release]

Third-party protos come out of the installed wheels; none is committed. `--check` lints the contract and compares it with
the last release image, `--release` makes today's contract the one that later changes must not break.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import grpc_tools
from google.protobuf import descriptor_pb2
from google.rpc import status_pb2
from protovalidate._gen.buf.validate import validate_pb

ROOT = Path(__file__).resolve().parent.parent
RELEASE_IMAGE = ROOT / "proto" / "release.binpb"
BIN = Path(sys.executable).parent


def sources() -> list[str]:
    """The contract's files, relative to proto/, in a stable order."""
    return sorted(str(path.relative_to(ROOT / "proto")) for path in (ROOT / "proto").rglob("*.proto"))


def third_party(folder: Path) -> list[str]:
    """Copies third-party protos out of wheels into `folder`; returns protoc's arguments that find them."""
    # The wheel of protovalidate ships its descriptor as bytes and no .proto file.
    validate = descriptor_pb2.FileDescriptorProto.FromString(validate_pb.desc().proto.to_binary())
    descriptor = folder / "validate.binpb"
    files = descriptor_pb2.FileDescriptorSet(file=[*_well_known(), validate])
    descriptor.write_bytes(files.SerializeToString())
    googleapis = Path(status_pb2.__file__).parent.parent.parent
    for package in ("google/api", "google/rpc"):
        for proto in (googleapis / package).glob("*.proto"):
            target = folder / "include" / package / proto.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(proto, target)
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    return [
        f"--proto_path={ROOT / 'proto'}",
        f"--proto_path={folder / 'include'}",
        f"--proto_path={well_known}",
        f"--descriptor_set_in={descriptor}",
    ]


def _well_known() -> list[descriptor_pb2.FileDescriptorProto]:
    from google.protobuf import duration_pb2, field_mask_pb2, timestamp_pb2  # noqa: PLC0415

    modules = (descriptor_pb2, duration_pb2, field_mask_pb2, timestamp_pb2)
    return [descriptor_pb2.FileDescriptorProto.FromString(module.DESCRIPTOR.serialized_pb) for module in modules]


def protoc(*arguments: str) -> None:
    """Runs the protoc of grpcio-tools; its messages go to stderr."""
    path = f"{BIN}:/usr/bin:/bin"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", *arguments], check=True, env={"PATH": path}, cwd=ROOT)


def generate(out: Path) -> None:
    """Writes everything that gen/ holds into `out`."""
    with tempfile.TemporaryDirectory() as scratch:
        include = third_party(Path(scratch))
        out.mkdir(parents=True, exist_ok=True)
        services = [name for name in sources() if name.endswith("_service.proto")]
        messages = [f"--python_out={out}", f"--mypy_out=quiet:{out}"]
        protoc(*include, *messages, *sources(), "buf/validate/validate.proto")
        stubs = f"--mypy_grpc_out=quiet,generate_concrete_servicer_stubs:{out}"
        protoc(*include, f"--grpc_python_out={out}", stubs, *services)
        _make_packages(out)
        image = Path(scratch) / "image.binpb"
        build_image(include, image)
        _write_openapi(image, out)


def _make_packages(out: Path) -> None:
    """Makes a typed package of every folder that holds generated modules, and of those above it."""
    modules = {path.parent for path in out.rglob("*_pb2.py")}
    for folder in {package for module in modules for package in (module, *module.parents) if package.is_relative_to(out)}:
        if folder != out:
            (folder / "__init__.py").touch()
            (folder / "py.typed").touch()


def build_image(include: list[str], image: Path, *, comments: bool = True) -> None:
    """Writes the descriptors of the contract and of everything it imports."""
    source_info = ["--include_source_info"] if comments else []
    protoc(*include, "--include_imports", *source_info, f"--descriptor_set_out={image}", *sources())


def _write_openapi(image: Path, out: Path) -> None:
    sys.path[:0] = [str(ROOT), str(out)]
    sys.dont_write_bytecode = True  # what is imported from `out` must leave nothing there
    from gateway.openapi import document  # noqa: PLC0415 (needs what this script has just written)

    files = descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes())
    # Inside of a package, so that every form of an installation carries it.
    (out / "giving" / "openapi.json").write_text(json.dumps(document(files), indent=1, ensure_ascii=False) + "\n")


def check_contract() -> None:
    """Lints the contract and refuses what would break callers of the last release.

    Raises:
        CalledProcessError: buf found something; it has printed what.
    """
    with tempfile.TemporaryDirectory() as scratch:
        image = Path(scratch) / "image.binpb"
        build_image(third_party(Path(scratch)), image)
        buf = str(BIN / "buf")
        config = ["--config", str(ROOT / "buf.yaml")]
        subprocess.run([buf, "lint", str(image), *config], check=True, cwd=scratch)
        if RELEASE_IMAGE.exists():
            subprocess.run([buf, "breaking", str(image), "--against", str(RELEASE_IMAGE), *config], check=True, cwd=scratch)


def release() -> None:
    """Makes today's contract the one that later changes must not break."""
    with tempfile.TemporaryDirectory() as scratch:
        build_image(third_party(Path(scratch)), RELEASE_IMAGE, comments=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "gen")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--release", action="store_true")
    options = parser.parse_args()
    if options.check:
        check_contract()
    elif options.release:
        release()
    else:
        generate(options.out)


if __name__ == "__main__":
    main()
