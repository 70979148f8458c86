"""What the device computes fast, and how it multiplies float32.

cuDNN's search for the fastest kernel stays off while training is deterministic, as Lightning has it: which kernel wins
changes between two runs, and the bits with it.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from pipeline.machine import bfloat16_units
from pipeline.training.precision.choice import Precision

TENSOR_CORES = (8, 0)
"""Compute capability from which on a GPU multiplies in TF32 (Ampere)."""


def fast_precisions(device: torch.device) -> tuple[Precision, ...]:
    """Precisions below float32 that the device computes in hardware: bfloat16 rather than float16."""
    if device.type == "cuda":
        half: Precision = "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
        return ("tf32", half) if torch.cuda.get_device_capability(device) >= TENSOR_CORES else (half,)
    if device.type == "cpu":
        return ("bf16-mixed",) if bfloat16_units() else ()
    return ()


@contextmanager
def float32_products(precision: Precision, device: torch.device) -> Iterator[None]:
    """Multiply float32 on a GPU as a precision says: rounded for ``tf32``, else in full.

    PyTorch's own default rounds in convolutions and not in products of matrices.
    """
    if device.type != "cuda":
        yield
        return
    rounds = precision == "tf32"
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("high" if rounds else "highest")
    torch.backends.cudnn.allow_tf32 = rounds
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
