"""Legacy converted enhanced objects: single-frame images put into one file (PS3.3 A.70 to A.72).

What has no functional group stands in two sequences of unassigned attributes, one for all frames and one for each,
under the names that it has in single-frame images.
"""

from pydicom.dataset import Dataset

from pipeline.readers.dicom.elements import element_of
from pipeline.readers.dicom.values import item

FOR_ALL = "UnassignedSharedConvertedAttributesSequence"
FOR_EACH = "UnassignedPerFrameConvertedAttributesSequence"


def lift_shared(dataset: Dataset) -> None:
    """Put the unassigned attributes of all frames where single-frame images have them; what is there stays.

    Private ones stay where they are.
    """
    groups = item(dataset, "SharedFunctionalGroupsSequence")
    unassigned = item(groups, FOR_ALL) if groups is not None else None
    for element in unassigned or ():
        if not element.tag.is_private and _is_empty(dataset, int(element.tag)):
            dataset.add(element)


def _is_empty(dataset: Dataset, tag: int) -> bool:
    present = element_of(dataset, tag)
    return present is None or not present.value
