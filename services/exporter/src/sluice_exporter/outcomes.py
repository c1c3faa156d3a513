"""What a client is told beside its resources: lines of the manifest's `error` files."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sluice_contracts.exports import IgnoredParameter
from sluice_exporter.plan import PartKind, PartPlan
from sluice_exporter.sink import Piece

OUTCOME = "OperationOutcome"

_encode = msgspec.json.Encoder().encode


def ignored(parameters: Sequence[IgnoredParameter]) -> Piece:
    """Tell which parameters were left out of account (Bulk Data Access 2.0.0, "Headers", `Prefer`)."""
    return _piece(
        [
            {
                "severity": "warning",
                "code": "not-supported",
                "details": {"text": f"The parameter {each.name} was left out of account: {each.reason}"},
                "expression": [each.name],
            }
            for each in parameters
        ]
    )


def given_up(plan: PartPlan) -> Piece:
    """Tell that nothing of a part is in the export, and what that part was.

    Nothing is said of its resources but their type and how many there may be; R4's code `exception` is an
    error of the server's own.
    """
    most = sum(part.rows for part in plan.parts)
    count = f" (up to {most:,})" if most and plan.kind is not PartKind.BLOCKS else ""
    if plan.kind is PartKind.DELETED:
        what = f"Deletions of {plan.type} resources{count}"
    elif plan.kind is PartKind.BLOCKS:
        what = "The data of some patients"
    elif plan.kind is PartKind.IGNORED:
        what = "The parameters that were left out of account"
    else:
        what = f"Some {plan.type} resources{count}"
    return _piece(
        [
            {
                "severity": "error",
                "code": "exception",
                "details": {"text": f"{what} could not be exported. Other files are whole."},
            }
        ]
    )


def _piece(issues: Sequence[object]) -> Piece:
    lines = [_encode({"resourceType": OUTCOME, "issue": [issue]}) + b"\n" for issue in issues]
    return Piece(b"".join(lines), len(lines))
