"""The descriptor image as the document's writers read it: types by name, comments by descriptor path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeAlias

from google.protobuf.descriptor_pb2 import DescriptorProto, EnumDescriptorProto, FileDescriptorProto, FileDescriptorSet

# Field numbers of descriptor.proto, of which source paths are made.
_FILE_MESSAGE, _FILE_ENUM, FILE_SERVICE = 4, 5, 6
_MESSAGE_NESTED, _MESSAGE_ENUM = 3, 4
FIELD = ENUM_VALUE = METHOD = 2

Path: TypeAlias = tuple[int, ...]


class Image:
    """All messages, enums and comments of a set of files."""

    def __init__(self, files: FileDescriptorSet) -> None:
        self.files = list(files.file)
        self.messages: dict[str, DescriptorProto] = {}
        self.enums: dict[str, EnumDescriptorProto] = {}
        self._comments: dict[tuple[str, Path], str] = {}
        self._places: dict[str, tuple[str, Path]] = {}
        for file in self.files:
            self._read(file)

    def comment(self, name: str, *path: int) -> str:
        """The comment on a message or enum, or on what `path` leads to inside it, on one line."""
        file, at = self._places[name]
        return self._comments.get((file, at + path), "")

    def comment_at(self, file: FileDescriptorProto, *path: int) -> str:
        """The comment at a path of a file, on one line."""
        return self._comments.get((file.name, path), "")

    def _read(self, file: FileDescriptorProto) -> None:
        for location in file.source_code_info.location:
            if location.leading_comments:
                self._comments[file.name, tuple(location.path)] = " ".join(location.leading_comments.split())
        for index, enum in enumerate(file.enum_type):
            self._add_enum(file, f"{file.package}.{enum.name}", enum, (_FILE_ENUM, index))
        for name, message, path in _messages(file):
            self.messages[name] = message
            self._places[name] = (file.name, path)
            for index, enum in enumerate(message.enum_type):
                self._add_enum(file, f"{name}.{enum.name}", enum, (*path, _MESSAGE_ENUM, index))

    def _add_enum(self, file: FileDescriptorProto, name: str, enum: EnumDescriptorProto, path: Path) -> None:
        self.enums[name] = enum
        self._places[name] = (file.name, path)


def _messages(file: FileDescriptorProto) -> Iterator[tuple[str, DescriptorProto, Path]]:
    waiting: list[tuple[str, DescriptorProto, Path]] = [
        (f"{file.package}.{message.name}", message, (_FILE_MESSAGE, index))
        for index, message in enumerate(file.message_type)
    ]
    while waiting:
        name, message, path = waiting.pop()
        yield name, message, path
        for index, nested in enumerate(message.nested_type):
            waiting.append((f"{name}.{nested.name}", nested, (*path, _MESSAGE_NESTED, index)))
