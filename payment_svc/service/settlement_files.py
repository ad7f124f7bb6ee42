"""Settlement files: read as they arrive, judged row by row, and taken as a whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Protocol

from giving.payment.v1 import payment_operations_service_pb2 as messages

from mesh import crashpoints
from mesh.errors import InvalidArgument, Overloaded
from mesh.fence import scope_of
from mesh.rpc.call import current_call
from payment_svc.domain.settlement import Item, Origin, classed
from payment_svc.domain.settlement_files import FileRefused, Problem, Row, SettlementFile
from payment_svc.refusals import SettlementFileRefused
from payment_svc.service.changes import Desk
from payment_svc.store.payments import Stamp
from payment_svc.store.settlement import SettlementStore
from payment_svc.store.settlement_files import Outcome, SettlementFiles, Staging

Parts = AsyncIterator[messages.UploadSettlementRequest]
# Rows that are judged and staged together: some milliseconds of work, between which other calls have their turn.
_ROWS_MAX = 500
# How long a part of a file may be on its way.
PART_S_MAX = 15.0
# How long a file takes that somebody else uploads, at a guess.
_BUSY_S = 5.0


class Reader(Protocol):
    """Reads one file."""

    def feed(self, piece: bytes) -> Iterator[Row]:
        """The rows that end in a piece.

        Raises:
            FileRefused: no settlement file looks like this.
        """
        ...

    def end(self) -> None:
        """Says that nothing more comes.

        Raises:
            FileRefused: something should.
        """
        ...


class Uploads:
    """Takes settlement files, one at a time."""

    def __init__(self, desk: Desk, *, files: SettlementFiles, store: SettlementStore, reader: Callable[[], Reader]) -> None:
        self._desk = desk
        self._files = files
        self._store = store
        self._reader = reader
        self._busy = False

    async def upload_settlement(self, parts: Parts) -> Outcome:
        """What became of a file, or had become of it when it was taken before.

        Raises:
            SettlementFileRefused: it is of no use as a whole; nothing of it counts.
            InvalidArgument: the stream does not begin with its only header.
            Overloaded: another file is being taken.
        """
        header = await _header(parts)
        file = SettlementFile(bytes.fromhex(header.sha256), header.name, header.size_bytes)
        taken = await self._files.taken(file.sha256)
        if taken:
            return taken
        with self._alone():
            try:
                async with self._files.staging() as staging:
                    return await self._upload(parts, file, staging, dry_run=header.dry_run)
            except FileRefused as refused:
                raise SettlementFileRefused(
                    "the file is refused as a whole; nothing of it was taken", problem=refused.problem, line=refused.line
                ) from refused

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Each file keeps a connection and much work for minutes."""
        if self._busy:
            raise Overloaded("another settlement file is being taken", retry_after_s=_BUSY_S)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False

    async def _upload(self, parts: Parts, file: SettlementFile, staging: Staging, *, dry_run: bool) -> Outcome:
        rows = await self._stage(parts, file, staging)
        line = await staging.differing_payout()
        if line is not None:
            raise FileRefused(Problem.TOTALS_DIFFER, line=line)
        crashpoints.reach("settlement.staged")
        return await staging.judge(rows=rows) if dry_run else await staging.take(file, rows=rows, stamp=self._stamp())

    async def _stage(self, parts: Parts, file: SettlementFile, staging: Staging) -> int:
        """Reads and stages the file as it arrives; how many rows it has."""
        reader, digest, size, count = self._reader(), hashlib.sha256(), 0, 0
        async for part in _arriving(parts):
            if not part.HasField("chunk"):
                raise InvalidArgument.of("header", "comes once, and first")
            digest.update(part.chunk)
            size += len(part.chunk)
            if size > file.size_bytes:
                break
            rows = reader.feed(part.chunk)
            while batch := list(islice(rows, _ROWS_MAX)):
                await staging.add(await self._judged(staging, batch))
                count += len(batch)
        if size != file.size_bytes:
            raise FileRefused(Problem.SIZE_DIFFERS)
        if digest.digest() != file.sha256:
            raise FileRefused(Problem.HASH_DIFFERS)
        reader.end()
        return count

    async def _judged(self, staging: Staging, rows: Sequence[Row]) -> list[Item]:
        """Rows as our books stand now."""
        ours = await self._store.ours(staging.connection, [row.movement for row in rows])
        return [
            Item(
                row.movement,
                classed(row.movement, ours.get(row.movement.id)),
                Origin.FILE,
                ours.get(row.movement.id),
                line=row.line,
            )
            for row in rows
        ]

    def _stamp(self) -> Stamp:
        call = current_call()
        return Stamp(scope_of(call.identity) if call else "", call.correlation_id if call else "", self._desk.clock.now())


async def _arriving(parts: Parts) -> Parts:
    """The parts as they come; a file that stands still is given up, because all others wait for it.

    Raises:
        FileRefused: nothing came for too long.
    """
    arriving = aiter(parts)
    while True:
        try:
            async with asyncio.timeout(PART_S_MAX):
                part = await anext(arriving)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise FileRefused(Problem.TRUNCATED) from error
        yield part


async def _header(parts: Parts) -> messages.UploadSettlementRequest.Header:
    async for part in parts:
        if part.HasField("header"):
            return part.header
        break
    raise InvalidArgument.of("header", "must come first")
