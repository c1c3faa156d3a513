"""How a submitted manifest and its files are to be read: header fields, a key, an authorization server.

What a submitter hands over goes to the puller sealed. Header fields go where a source's operators permitted
their names, and tokens are got as these registered it, so that nobody makes us send what they choose, with
our rights and our address, to a server of theirs.
"""

from __future__ import annotations

from sluice_contracts.ids import Keys
from sluice_fhir.source_auth import NoAuth
from sluice_fhir.sources import Source
from sluice_fhir.submitted import Submitted, SubmittedSeal, permitted_headers
from sluice_gateway.fhir.outcomes import Issue, Refusal
from sluice_gateway.fhir.submission_declared import HEADER, KEY, OAUTH
from sluice_gateway.fhir.submission_parameters import SubmittedManifest
from sluice_gateway.models.sources import KeySet
from sluice_security.content_keys import DeliveredKeys, NotDecryptedError


class SubmissionAccess:
    """Judges and seals what submitters hand over.

    Parameters
    ----------
    secrets
        The deployment's secrets.
    """

    def __init__(self, secrets: Keys) -> None:
        self._keys = DeliveredKeys(secrets)
        self._seal = SubmittedSeal(secrets)

    def keys(self) -> KeySet:
        """Give the public key that submitters encrypt their keys for."""
        return KeySet(keys=[self._keys.published()])

    def seal(self, manifest: SubmittedManifest, source: Source, job: str) -> str | None:
        """Seal for the import that reads it what was handed over with a manifest; None if nothing was.

        Raises
        ------
        Refusal
            400 with all that is wrong.
        """
        issues: list[Issue] = []

        def wrong(name: str, code: str, text: str) -> None:
            place = (f"Parameters.parameter.where(name='{name}')",)
            issues.append(Issue(code=code, text=text, expression=place))

        headers: dict[str, str] = {}
        key = None
        try:
            headers = permitted_headers(manifest.headers, source)
        except ValueError as error:
            wrong(HEADER, "not-supported", f"{HEADER} cannot be used: {error}.")
        if manifest.key is not None:
            try:
                key = self._keys.open(manifest.key)
            except NotDecryptedError as error:
                wrong(KEY, "value", f"The value of {KEY} is {error}.")
        if manifest.oauth and isinstance(source.auth, NoAuth) and "authorization" not in headers:
            text = "No credentials are registered for the source, so no token can be had. Ask the operators."
            wrong(OAUTH, "not-supported", text)
        if issues:
            raise Refusal(400, issues)
        return self._seal.close(Submitted(headers=headers, key=key), job)
