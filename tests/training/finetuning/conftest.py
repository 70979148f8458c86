"""Classifiers as they come from elsewhere: no statistic and no norm is that of a fresh network."""

from collections.abc import Callable

import pytest
import torch
from phantoms.spheres import FINDINGS

from pipeline.networks.classifier import Classifier, build_classifier
from pipeline.networks.settings import NetworkSettings

Build = Callable[..., Classifier]


@pytest.fixture(scope="session")
def build() -> Build:
    """Make a classifier, by default of 10 layers and width 4 in 3D, from settings of its backbone."""

    def make(ndim: int = 3, dropout: float = 0.0, **backbone: object) -> Classifier:
        torch.manual_seed(7)
        chosen = {"kind": "resnet", "depth": 10, "width": 4} | backbone
        network = NetworkSettings.from_mapping({"backbone": chosen, "dropout": dropout})
        classifier = build_classifier(network, FINDINGS, ndim, 1)
        with torch.no_grad():
            for name, parameter in classifier.named_parameters():
                if parameter.ndim == 1 and "norm" in name:
                    parameter.uniform_(0.5, 1.5)
            for buffer in classifier.buffers():
                if buffer.is_floating_point():
                    buffer.uniform_(0.5, 1.5)
        return classifier

    return make
