"""Telling that memory has run out from any other error."""

import gc

import torch

SHORTAGES = (
    "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
    "DefaultCPUAllocator: can't allocate memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "not enough memory",
    "std::bad_alloc",
)
"""What torch and the libraries below it say, in a RuntimeError, when memory runs out."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory of the processor or of a graphics card ran out."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    text = str(error)
    short = any(word in text for word in SHORTAGES) or ("CUDA" in text and "out of memory" in text)
    return isinstance(error, RuntimeError) and short


def free_memory() -> None:
    """Give back what a failed step held."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
