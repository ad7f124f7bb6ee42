"""P1 as far as settings show it: what is committed survives a loss of power."""

from __future__ import annotations

from cli.invariants.invariant import Findings
from cli.invariants.view import NotHere, View

# setting → what a commit may be answered under.
_DURABLE = {"fsync": ("on",), "full_page_writes": ("on",), "synchronous_commit": ("on", "remote_apply")}


async def durable_settings(view: View, findings: Findings) -> None:
    """The server's settings, and those of the database and of the schema's roles, of each service's database.

    Raises:
        NotHere: no database is known.
    """
    if not view.services:
        raise NotHere("no database is known")
    for service in view.services:
        async with view.snapshot(service) as reading:
            found = [(row["name"], row["setting"], "") for row in await reading.all("durability")]
            own = await reading.all("durability_of_roles")
        found += [(row["name"], row["setting"], f" of {row['role']}") for row in own]
        for name, setting, whose in found:
            findings.checked += 1
            if setting not in _DURABLE[name]:
                findings.add(f"{service}: {name}{whose}", f"is {setting}, not {_DURABLE[name][0]}")
