"""Scopes in the words of whoever is asked to consent to them."""

from __future__ import annotations

from sluice_security.scopes import OFFLINE, Scope, Scopes

_VERBS = {"c": "create", "r": "read", "u": "change", "d": "delete", "s": "search"}
_PLAIN = {
    "bulk/import": "Start imports of documents and data, and follow them",
    "system/bulk-submit": "Submit data in bulk, and follow that",
    "files/read": "See and download your projects' files",
    "files/write": "Add, change and delete your projects and their files",
    "ops/jobs": "See everybody's jobs, as an operator",
    "ops/sources": "Register, change and remove FHIR servers, as an operator",
    "ops/health": "See how the service does, as an operator",
    "ops/audit": "See the records of who did what, as an operator",
    "ops/dead-letters": "See what could not be processed and have it tried again, as an operator",
}


def describe(scopes: Scopes, *, offline_days: float) -> list[str]:
    """Give a sentence for each permission; `offline_days` is how long an application may act unattended."""
    return [_sentence(scope, offline_days) for scope in scopes]


def _sentence(scope: Scope, offline_days: float) -> str:
    if scope.context == OFFLINE:
        days = "day" if offline_days == 1 else "days"
        return f"Keep this access while you are away, for up to {offline_days:g} {days}"
    if not scope.letters:
        return _PLAIN.get(scope.canonical, scope.canonical)
    verbs = [_VERBS[letter] for letter in scope.letters]
    listed = verbs[0] if len(verbs) == 1 else f"{', '.join(verbs[:-1])} and {verbs[-1]}"
    kind = "health records of every kind" if scope.target == "*" else f"{scope.target} records"
    limits = f", only those with {' and '.join(scope.query)}" if scope.query else ""
    return f"{listed.capitalize()} {kind} that you have access to{limits}"
