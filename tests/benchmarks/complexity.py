"""Parameters and multiply-adds of the named networks beside the published ones.

    python tests/benchmarks/complexity.py

Counted from shapes alone at 224 x 224 pixels and 1,000 classes, the stride in the 3x3 convolution. Writes the section
"complexity" of RESULTS.md.
"""

import torch
from benchmarks.results import table, write_section

from pipeline.backbones.complexity import count_multiply_adds
from pipeline.backbones.resnet import Config

PUBLISHED = {18: (11.69, 1.81), 34: (21.80, 3.66), 50: (25.56, 4.09), 101: (44.55, 7.80), 152: (60.19, 11.51)}
"""Millions of parameters and billions of multiply-adds by depth."""

CLASSES, SIDE = 1000, 224


def main() -> None:
    rows = []
    for depth, (parameters, multiply_adds) in PUBLISHED.items():
        with torch.device("meta"):
            backbone = Config(depth=depth, stem="large").build(2, 3)
            network = torch.nn.Sequential(backbone, torch.nn.Linear(backbone.features, CLASSES))
        counted = sum(parameter.numel() for parameter in network.parameters()) / 1e6
        work = count_multiply_adds(network, (3, SIDE, SIDE)) / 1e9
        counted_beside = (f"{counted:.2f}", f"{parameters:.2f}", f"{100 * (counted / parameters - 1):+.2f}%")
        work_beside = (f"{work:.2f}", f"{multiply_adds:.2f}", f"{100 * (work / multiply_adds - 1):+.2f}%")
        rows.append((f"ResNet-{depth}", *counted_beside, *work_beside))
    heads = ("network", "parameters, M", "published", "difference", "multiply-adds, G", "published", "difference")
    print(write_section("complexity", "Parameters and multiply-adds", table(heads, rows), ("torch",)))


if __name__ == "__main__":
    main()
