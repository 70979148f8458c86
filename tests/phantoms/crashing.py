"""A network that ends its process where it is tried in half precision with channels last, as a faulty kernel does."""

import os
import signal

import torch
from torch import Tensor, nn


class EndsItsProcess(nn.Module):
    """Passes images on to a network, unless they are laid out and computed as a fault wants them."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu") and not all(weight.is_contiguous() for weight in self.parameters()):
            os.kill(os.getpid(), signal.SIGSEGV)
        logits: Tensor = self.inner(x)
        return logits
