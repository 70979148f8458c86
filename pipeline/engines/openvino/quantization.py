"""int8 by NNCF, accuracy-aware: layers that move a probability too far go back to higher precision.

Every convolution is quantised after training, its ranges taken from calibration cases (NNCF, fast bias correction).
Linear layers (heads, channel weights, attention over slices) and the pooling before them stay as they are: they cost
nothing and decide. Where the whole split then does not agree, layers are ranked by how much nearer the worst cases come
when one alone is put back, and put back in that order, twice as many each time, until the split agrees or half of the
network would be float32.
"""

import contextlib
import logging
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.engines.libraries import library
from pipeline.progress import track

log = logging.getLogger("resdx")

Images = NDArray[np.float32]

CALIBRATION_CASES = 300
"""Most cases from which ranges are taken; more change them little."""

LARGEST_SHARE = 0.5
"""Of the quantised layers that may go back: beyond, int8 gains nothing worth its risk."""

NEVER = ("MatMul", "ReduceMean")
"""Operations that stay in float32: linear layers and the pooling before them."""

QUANTIZED = "FakeQuantize"

CONVOLUTIONS = ("Convolution", "GroupConvolution")
"""Their weights are rounded even where another operation stands between them and the rounding of their input."""


class Verdict(Enum):
    """How a quantised network does on a split: SOUND agrees by the rule and flips no decision."""

    WRONG = 0
    AGREES = 1
    SOUND = 2


class Quantized(NamedTuple):
    """A quantised network.

    Attributes
    ----------
    model : openvino.Model
    kept : tuple of str
        Layers that were put back to higher precision.
    layers : int
        Layers that are quantised where none is put back.
    """

    model: Any
    kept: tuple[str, ...]
    layers: int


def quantize(model: Any, images: Sequence[Images]) -> Any:
    """Quantise every convolution of a model.

    Parameters
    ----------
    model : openvino.Model
        In float32; it stays as it is.
    images : sequence of ndarray, shape (c, *space)
        Calibration cases.

    Raises
    ------
    EngineError
        If NNCF is not installed.
    """
    nncf = library("nncf", "int8")
    chosen = [np.array(image, dtype=np.float32)[np.newaxis] for image in _spread(images, CALIBRATION_CASES)]
    with _quiet():
        return nncf.quantize(
            model,
            nncf.Dataset(chosen),
            subset_size=len(chosen),
            preset=nncf.QuantizationPreset.MIXED,
            ignored_scope=nncf.IgnoredScope(types=list(NEVER), validate=False),
        )


def put_back(quantized: Any, model: Any, names: Sequence[str]) -> Any:
    """Copy a quantised model with some layers as they were in float32.

    Parameters
    ----------
    model : openvino.Model
        The one that was quantised.
    names : sequence of str
        Of :func:`quantized_layers`.
    """
    copy = quantized.clone()
    before = {node.get_friendly_name(): node for node in model.clone().get_ops()}
    nodes = {node.get_friendly_name(): node for node in copy.get_ops()}
    for name in names:
        node = nodes[name]
        for number in range(node.get_input_size()):
            source = node.input_value(number).get_node()
            if source.get_type_name() == QUANTIZED:
                node.input(number).replace_source_output(source.input_value(0))
        _restore_constants(node, before[name])
        for target in node.output(0).get_target_inputs():
            _restore_bias(target.get_node(), node, before)
    copy.validate_nodes_and_infer_types()
    return copy


def _restore_constants(node: Any, original: Any) -> None:
    for number in range(original.get_input_size()):
        if _is_constant(original.input_value(number).get_node()):
            node.input(number).replace_source_output(original.input_value(number))


def _restore_bias(behind: Any, node: Any, before: Mapping[str, Any]) -> None:
    """Undo what was corrected for int8: a bias of the layer's own, or one that stands there for that alone."""
    if behind.get_type_name() != "Add":
        return
    if behind.get_friendly_name() in before:
        _restore_constants(behind, before[behind.get_friendly_name()])
    elif any(_is_constant(value.get_node()) for value in behind.input_values()):
        for target in behind.output(0).get_target_inputs():
            target.replace_source_output(node.output(0))


def _is_constant(node: Any) -> bool:
    if node.get_type_name() == "Constant":
        return True
    sources = [value.get_node() for value in node.input_values()]
    return bool(sources) and all(map(_is_constant, sources))


def quantized_layers(quantized: Any, model: Any) -> tuple[str, ...]:
    """Names of the layers of a model whose input or weights its quantised twin rounds, in the order of the network."""
    own = {node.get_friendly_name() for node in model.get_ops()}

    def is_rounded(node: Any) -> bool:
        sources = [value.get_node().get_type_name() for value in node.input_values()]
        return node.get_type_name() in CONVOLUTIONS or QUANTIZED in sources

    nodes = [node for node in quantized.get_ordered_ops() if is_rounded(node)]
    return tuple(node.get_friendly_name() for node in nodes if node.get_friendly_name() in own)


def quantize_until(
    model: Any,
    images: Sequence[Images],
    differences: Callable[[Any], NDArray[np.float64]],
    judge: Callable[[Any], Verdict],
) -> Quantized | None:
    """Quantise and put layers back until the whole split agrees.

    Parameters
    ----------
    differences : callable
        Model to differences of the cases by which layers are ranked.
    judge : callable
        How a model does on the whole split.

    Returns
    -------
    Quantized or None
        The one with fewest layers put back that agrees and flips no decision; if there is none, the first that agrees;
        None if it does not agree with half of the layers put back.
    """
    quantized = quantize(model, images)
    layers = quantized_layers(quantized, model)
    whole = Quantized(quantized, (), len(layers))
    verdict = judge(quantized)
    if verdict is Verdict.SOUND:
        return whole
    second = whole if verdict is Verdict.AGREES else None
    log.info("int8 is not sound as it is; ranking %d layers", len(layers))
    order = rank(quantized, model, layers, differences)
    most = max(1, int(LARGEST_SHARE * len(layers)))
    for count in sorted({min(2**step, most) for step in range(most.bit_length() + 1)}):
        tried = Quantized(put_back(quantized, model, order[:count]), tuple(order[:count]), len(layers))
        verdict = judge(tried.model)
        if verdict is Verdict.SOUND:
            return tried
        second = second or (tried if verdict is Verdict.AGREES else None)
    return second


def rank(
    quantized: Any, model: Any, layers: Sequence[str], differences: Callable[[Any], NDArray[np.float64]]
) -> list[str]:
    """Order layers by how near the cases come to float32 when one alone is put back, the best first."""
    turns = track(layers, "rank layers", len(layers))
    left = [float(np.mean(differences(put_back(quantized, model, [name])))) for name in turns]
    return [layers[number] for number in np.argsort(left, kind="stable")]


def _spread(images: Sequence[Images], count: int) -> list[Images]:
    """At most so many, evenly over all."""
    wanted = np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int))
    return [images[number] for number in wanted]


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the chatter of NNCF from the user: it prints bars and remarks of its own."""
    chatter = logging.getLogger("nncf")
    level = chatter.level
    chatter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            warnings.simplefilter("ignore")
            yield
    finally:
        chatter.setLevel(level)
