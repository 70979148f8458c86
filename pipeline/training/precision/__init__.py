"""Precision and memory layout: proven on the real model and a real batch before they are trusted.

Half precision is not safe everywhere: on some processors the weight gradient of a 3D convolution on small maps comes
out infinite in bfloat16. So each candidate runs forward and backward on the whole batch; only one whose loss and
gradients are finite and close to float32, and that is faster, is taken. Where few layers are wrong, these are kept in
float32 and the others proven again.
"""

from pipeline.training.precision.choice import Candidate, Layout, Precision, PrecisionChoice, Trial
from pipeline.training.precision.choosing import choose_precision, decide
from pipeline.training.precision.proving import prove

__all__ = ["Candidate", "Layout", "Precision", "PrecisionChoice", "Trial", "choose_precision", "decide", "prove"]
