"""The content tree of a report: TID 1500 Measurement Report (PS3.16), one measurement group a finding.

What the templates offer no place for stands in the container of qualitative evaluations (TID 1500 row 12): the verdict
about scope, the reasons, the digest of the model, the notes of reading, and that this is not for clinical use.
"""

from collections.abc import Iterator

from highdicom.sr import (
    AlgorithmIdentification,
    CodeContentItem,
    CodedConcept,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DeviceObserverIdentifyingAttributes,
    ImageContentItem,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from pipeline.domain import finding as domain
from pipeline.domain.finding import SEPARATOR, Finding, FindingKind
from pipeline.domain.prediction import FindingPrediction, ScopeVerdict
from pipeline.writers.dicom_objects import DISCLAIMER, CaseReport
from pipeline.writers.dicom_sources import DicomSources, derived_uid
from pipeline.writers.dicom_sr import concepts

CONTAINS = RelationshipTypeValues.CONTAINS


def content_of(report: CaseReport, sources: DicomSources) -> MeasurementReport:
    """Build the whole tree."""
    answers = {answer.finding: answer for answer in report.prediction.findings}
    tree = MeasurementReport(
        observation_context=_observer(report, sources),
        procedure_reported=_procedures(sources),
        imaging_measurements=[
            _group(finding, answers.get(finding.name), report, sources) for finding in report.findings
        ],
    )
    children = tree[0].ContentSequence
    children.insert(len(children) - 1, _library(sources))
    children.append(_evaluations(report))
    return tree


def _observer(report: CaseReport, sources: DicomSources) -> ObservationContext:
    """TID 1004: the device is one model; its UID follows from the digest."""
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_device_uid(report),
        name="resdx",
        manufacturer_name="resdx",
        model_name=report.model.name,
        serial_number=report.model.version,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(observer_type=codes.DCM.Device, observer_identifying_attributes=device)
    )


def derived_device_uid(report: CaseReport) -> str:
    """UID of a model as a device, the same in all its reports."""
    return str(generate_uid(entropy_srcs=["resdx", "device", report.model.digest]))


def _procedures(sources: DicomSources) -> list[Code | CodedConcept]:
    if sources.procedures:
        return [
            concepts.concept(domain.CodedConcept(value=value, scheme=scheme, meaning=meaning))
            for value, scheme, meaning in sources.procedures
        ]
    return [concepts.PROCEDURES.get(sources.modality, concepts.IMAGING)]


def _library(sources: DicomSources) -> ContainerContentItem:
    """TID 1600 with every source image, and none of the descriptors that it leaves optional.

    highdicom's own wants spacing and orientation of each image, which radiographs and enhanced objects keep elsewhere.
    """
    library = ContainerContentItem(concepts.LIBRARY, relationship_type=CONTAINS)
    group = ContainerContentItem(concepts.LIBRARY_GROUP, relationship_type=CONTAINS)
    group.ContentSequence = ContentSequence(
        [
            ImageContentItem(concepts.SOURCE, one.sop_class, one.uid, relationship_type=CONTAINS)
            for one in sources.instances
        ]
    )
    library.ContentSequence = ContentSequence([group])
    return library


def _group(
    finding: Finding, answer: FindingPrediction | None, report: CaseReport, sources: DicomSources
) -> MeasurementsAndQualitativeEvaluations:
    """TID 1501: what is said of one finding; without an answer, that it is withheld and no number."""
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=derived_uid(report, sources, "tracking", finding.name), identifier=finding.name
        ),
        finding_type=concepts.finding_concept(finding),
        algorithm_id=_algorithm(report, answer),
        measurements=None if answer is None else list(_measurements(finding, answer)),
        qualitative_evaluations=[QualitativeEvaluation(concepts.DECISION, said) for said in _decided(finding, answer)],
    )


def _algorithm(report: CaseReport, answer: FindingPrediction | None) -> AlgorithmIdentification:
    """TID 4019."""
    model = report.model
    parameters = [f"model digest {model.digest}", f"resdx {model.software}"]
    if model.engine:
        parameters.append(f"engine {model.engine}")
    if answer is not None and answer.threshold is not None:
        parameters.append(f"threshold {answer.threshold!r}")
    return AlgorithmIdentification(name=model.name, version=model.version, parameters=parameters, manufacturer="resdx")


def _measurements(finding: Finding, answer: FindingPrediction) -> Iterator[Measurement]:
    assert set(answer.probabilities) == set(finding.classes), f"{finding.name}: probabilities of other classes"
    for label in finding.classes:
        probability = Measurement(concepts.PROBABILITY, float(answer.probabilities[label]), concepts.NO_UNITS)
        modifier = CodeContentItem(
            concepts.CLASS, concepts.class_concept(finding, label), RelationshipTypeValues.HAS_CONCEPT_MOD
        )
        probability[0].ContentSequence = ContentSequence([modifier])
        yield probability
    if answer.threshold is not None:
        yield Measurement(concepts.THRESHOLD, float(answer.threshold), concepts.NO_UNITS)


def _decided(finding: Finding, answer: FindingPrediction | None) -> list[Code | CodedConcept]:
    """Codes of the decided classes: one, or of a multilabel finding each, or that there is none."""
    if answer is None:
        return [concepts.WITHHELD]
    if finding.kind is not FindingKind.MULTILABEL:
        return [concepts.class_concept(finding, answer.decision)]
    if not answer.decision:
        return [concepts.NONE]
    if answer.decision in finding.classes:
        return [concepts.class_concept(finding, answer.decision)]
    return [concepts.class_concept(finding, label) for label in answer.decision.split(SEPARATOR)]


def _evaluations(report: CaseReport) -> ContainerContentItem:
    prediction = report.prediction
    container = ContainerContentItem(concepts.QUALITATIVE, relationship_type=CONTAINS)
    container.ContentSequence = ContentSequence(
        [
            CodeContentItem(concepts.SCOPE, concepts.VERDICTS[prediction.scope], CONTAINS),
            *(_text(concepts.SCOPE_REASON, reason) for reason in prediction.scope_reasons),
            _text(concepts.COMMENT, DISCLAIMER),
            *(_text(concepts.COMMENT, said) for said in _withheld(report)),
            _text(concepts.MODEL_DIGEST, report.model.digest),
            *(_text(concepts.COMMENT, note) for note in prediction.notes),
            *(
                _text(concepts.NAME, f"{code}: {name}")
                for finding in report.findings
                for code, name in concepts.cut_names(finding).items()
            ),
        ]
    )
    return container


def _withheld(report: CaseReport) -> Iterator[str]:
    prediction = report.prediction
    if prediction.findings:
        return
    why = f" ({'; '.join(prediction.scope_reasons)})" if prediction.scope_reasons else ""
    if prediction.scope is ScopeVerdict.OUT_OF_SCOPE:
        yield f"No probability and no decision is given: the scan is out of the model's scope{why}."
    else:
        yield f"No probability and no decision is given: the answer is withheld{why}."


def _text(name: Code, value: str) -> ContentItem:
    return TextContentItem(name, value, CONTAINS)
