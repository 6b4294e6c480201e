"""What a record tells of a run of this contract, beyond what every record does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lading.contracts.processing import CONTRACT
from lading.run.records import Kind, Run

if TYPE_CHECKING:
    from lading.contracts.processing.planning import Plan
    from lading.run.ownership import Owner

__all__ = ["begun", "detail"]


def begun(planned: Plan, owner: Owner) -> Run:
    """Make the record of a run that is about to start."""
    return Run(
        id=planned.run_id,
        kind=Kind.CONTAINER,
        contract=CONTRACT,
        owner=owner.id,
        name=planned.instance.name,
        image=planned.instance.image,
        image_id=planned.image.id,
        cpus=planned.needs.cpus,
        memory=planned.needs.memory,
    )


def detail(
    planned: Plan, channels: Sequence[dict[str, Any]], notes: Sequence[str], *, ran: str
) -> str:
    """Write what only this contract knows of a run, as JSON.

    Parameters
    ----------
    planned : Plan
    channels : sequence of dict
        With their sizes, as they are known by now.
    notes : sequence of str
        What its user should know.
    ran : str
        The digest of the image that really ran, as far as it is known.
    """
    known = {
        "template": planned.instance.identifier,
        "image_digest": ran,
        "command": planned.instance.command,
        "env": sorted(item.name for item in planned.instance.env),
        "channels": channels,
        "requirements": [
            {
                "channel": item.channel,
                "type": str(item.type),
                "size": item.size,
                "memory": item.memory,
            }
            for item in planned.needs.requirements
        ],
        "declared_memory": planned.needs.declared_memory,
        "memory_request": planned.needs.memory_request,
        "cpu_request": planned.needs.cpu_request,
        "notes": list(notes),
        "fingerprint": planned.fingerprint,
    }
    return json.dumps({name: value for name, value in known.items() if value not in (None, "", [])})
