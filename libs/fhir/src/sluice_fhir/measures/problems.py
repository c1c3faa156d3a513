"""What can be wrong with a measure or a request about one: codes, and how each is told.

A finding names artifacts (canonical URLs, ids, names of libraries and expressions) and places in a request,
never contents.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

_LONGEST = 200


class MeasureProblem(StrEnum):
    """What is wrong."""

    MEASURE_MISSING = "measure_missing"
    LIBRARY_MISSING = "library_missing"
    VALUE_SET_MISSING = "value_set_missing"
    NO_LIBRARY = "no_library"
    NO_ELM = "no_elm"
    BAD_ARTIFACT = "bad_artifact"
    WRONG_ARTIFACT = "wrong_artifact"
    BAD_BASE64 = "bad_base64"
    BAD_ELM_JSON = "bad_elm_json"
    BAD_ELM = "bad_elm"
    ELM_REFERENCE = "elm_reference"
    TOO_DEEP = "too_deep"
    TOO_MANY_ARTIFACTS = "too_many_artifacts"
    CYCLIC_INCLUDES = "cyclic_includes"
    CYCLIC_MEASURES = "cyclic_measures"
    UNKNOWN_TYPE = "unknown_type"
    NOT_JSON = "not_json"
    NOT_PARAMETERS = "not_parameters"
    BAD_PARAMETER = "bad_parameter"
    PARAMETER_MISSING = "parameter_missing"
    PARAMETER_REPEATED = "parameter_repeated"
    PARAMETER_REFUSED = "parameter_refused"
    WRONG_REPORT_TYPE = "wrong_report_type"
    WRONG_MEASURE = "wrong_measure"
    NOT_A_BUNDLE = "not_a_bundle"
    WRONG_BUNDLE_TYPE = "wrong_bundle_type"
    TOO_MANY_ENTRIES = "too_many_entries"
    BAD_ENTRY = "bad_entry"
    BAD_RESOURCE = "bad_resource"
    ID_MISMATCH = "id_mismatch"
    DUPLICATE_ENTRY = "duplicate_entry"
    NOT_SUPPORTED = "not_supported"
    REFERENCE_UNRESOLVED = "reference_unresolved"
    NOT_PERMITTED = "not_permitted"


@dataclass(frozen=True, slots=True)
class ProblemText:
    """How a problem is told: an HTTP `status`, an `issue` of R4's value set issue-type, and words."""

    status: int
    issue: str
    message: str


PROBLEM_TEXTS: dict[MeasureProblem, ProblemText] = {
    MeasureProblem.MEASURE_MISSING: ProblemText(404, "not-found", "There is no such Measure."),
    MeasureProblem.LIBRARY_MISSING: ProblemText(
        404, "not-found", "A Library that the measure needs is not here."
    ),
    MeasureProblem.VALUE_SET_MISSING: ProblemText(
        404, "not-found", "A ValueSet that the measure needs is not here."
    ),
    MeasureProblem.NO_LIBRARY: ProblemText(
        422, "business-rule", "The Measure names no Library and has no effective data requirements."
    ),
    MeasureProblem.NO_ELM: ProblemText(
        422, "business-rule", "The Library has no ELM in JSON (content of type application/elm+json)."
    ),
    MeasureProblem.BAD_ARTIFACT: ProblemText(422, "structure", "An artifact is not as R4 has it."),
    MeasureProblem.WRONG_ARTIFACT: ProblemText(422, "structure", "An artifact is of another type."),
    MeasureProblem.BAD_BASE64: ProblemText(422, "structure", "The Library's ELM is not base64."),
    MeasureProblem.BAD_ELM_JSON: ProblemText(422, "structure", "The Library's ELM is not JSON."),
    MeasureProblem.BAD_ELM: ProblemText(422, "structure", "The Library's ELM is not an ELM library."),
    MeasureProblem.ELM_REFERENCE: ProblemText(
        422, "processing", "The Library's ELM refers to something that is not defined."
    ),
    MeasureProblem.TOO_DEEP: ProblemText(422, "too-costly", "Contents or includes are nested too deep."),
    MeasureProblem.TOO_MANY_ARTIFACTS: ProblemText(
        422, "too-costly", "The measure consists of too many artifacts."
    ),
    MeasureProblem.CYCLIC_INCLUDES: ProblemText(
        422, "processing", "Libraries include each other in a circle."
    ),
    MeasureProblem.CYCLIC_MEASURES: ProblemText(422, "processing", "Measures consist of each other."),
    MeasureProblem.UNKNOWN_TYPE: ProblemText(
        422, "not-supported", "The measure needs data of a type that FHIR R4 does not have."
    ),
    MeasureProblem.NOT_JSON: ProblemText(400, "structure", "The request's body is not JSON."),
    MeasureProblem.NOT_PARAMETERS: ProblemText(
        400, "structure", "The request's body is no Parameters resource."
    ),
    MeasureProblem.BAD_PARAMETER: ProblemText(400, "value", "A parameter's value is not of the right kind."),
    MeasureProblem.PARAMETER_MISSING: ProblemText(400, "required", "A parameter is missing."),
    MeasureProblem.PARAMETER_REPEATED: ProblemText(400, "invalid", "A parameter may be given once only."),
    MeasureProblem.PARAMETER_REFUSED: ProblemText(
        400, "not-supported", "A parameter cannot be given with this request."
    ),
    MeasureProblem.WRONG_REPORT_TYPE: ProblemText(
        400, "value", "The MeasureReport is not of type data-collection."
    ),
    MeasureProblem.WRONG_MEASURE: ProblemText(400, "value", "The MeasureReport is about another Measure."),
    MeasureProblem.NOT_A_BUNDLE: ProblemText(400, "structure", "The request's body is no Bundle."),
    MeasureProblem.WRONG_BUNDLE_TYPE: ProblemText(
        400, "value", "The Bundle is not of a type that is taken here."
    ),
    MeasureProblem.TOO_MANY_ENTRIES: ProblemText(413, "too-long", "The Bundle has too many entries."),
    MeasureProblem.BAD_ENTRY: ProblemText(
        400, "structure", "The entry has no request that can be understood."
    ),
    MeasureProblem.BAD_RESOURCE: ProblemText(
        400, "structure", "The resource is none of FHIR R4 or has a bad id."
    ),
    MeasureProblem.ID_MISMATCH: ProblemText(
        400, "value", "The resource has another type or id than the request's URL."
    ),
    MeasureProblem.DUPLICATE_ENTRY: ProblemText(
        400, "duplicate", "Two entries of the transaction are about the same resource."
    ),
    MeasureProblem.NOT_SUPPORTED: ProblemText(
        501, "not-supported", "Requests of this kind are not supported in a Bundle."
    ),
    MeasureProblem.REFERENCE_UNRESOLVED: ProblemText(
        400, "not-found", "A reference cannot be resolved within the transaction."
    ),
    MeasureProblem.NOT_PERMITTED: ProblemText(
        403, "forbidden", "The token does not permit this to be stored or deleted."
    ),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Parameters
    ----------
    problem
        What.
    about
        The artifact, expression or parameter: a canonical URL, an id or a name.
    where
        The place in the request, as FHIRPath.
    """

    problem: MeasureProblem
    about: str = ""
    where: str = ""

    @property
    def status(self) -> int:
        """The HTTP status that it is answered with."""
        return PROBLEM_TEXTS[self.problem].status

    @property
    def issue(self) -> str:
        """The issue's code, of R4's value set issue-type."""
        return PROBLEM_TEXTS[self.problem].issue

    @property
    def text(self) -> str:
        """What is wrong, for people."""
        message = PROBLEM_TEXTS[self.problem].message
        about = shown(self.about)
        return f"{message} ({about})" if about else message


class MeasureError(Exception):
    """A measure or a request cannot be used; `findings` has at least one, the first decides the status."""

    def __init__(
        self, problem: MeasureProblem, about: str = "", where: str = "", more: Iterable[Finding] = ()
    ) -> None:
        self.findings = (Finding(problem, about, where), *more)
        super().__init__("; ".join(each.problem for each in self.findings))

    @classmethod
    def of(cls, findings: Iterable[Finding]) -> MeasureError:
        """Make the error of these findings, at least one."""
        first, *rest = findings
        return cls(first.problem, first.about, first.where, rest)

    @property
    def problem(self) -> MeasureProblem:
        """The first finding's problem."""
        return self.findings[0].problem

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.findings[0].status


def shown(text: str) -> str:
    """Give a name as it may be told: printable, not long, and without a URL's query."""
    text = "".join(character for character in text.partition("?")[0] if character.isprintable())
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
