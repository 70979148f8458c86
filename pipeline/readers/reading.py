"""From a series to its volume."""

from dataclasses import replace

from pipeline.domain.series import Series
from pipeline.domain.volume import Volume
from pipeline.readers.loading import load
from pipeline.readers.neighbours import series_notes
from pipeline.readers.opening import readers
from pipeline.readers.options import ReadOptions
from pipeline.readers.reader import Load


def read(series: Series, options: ReadOptions, load: Load = load) -> Volume:
    """Read one series into float32 voxels (c, i, j, k) in stored order, with its geometry.

    Raises
    ------
    RejectedInput
        With a code; ``path`` names the guilty file where one is.
    """
    volume = readers()[series.reader].read(series, load, options)
    told = series_notes(series)
    return replace(volume, notes=(*volume.notes, *told)) if told else volume
