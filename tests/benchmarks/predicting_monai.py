"""The peer of :mod:`benchmarks.predicting`: a prediction script as anyone writes it with MONAI and torch."""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from monai.data import DataLoader, Dataset
from monai.transforms import (
    Compose,
    EnsureChannelFirstd,
    LoadImaged,
    Orientationd,
    ResizeWithPadOrCropd,
    ScaleIntensityRanged,
    Spacingd,
)

from pipeline.domain.encoding import class_probabilities, output_slices
from pipeline.machine import cores
from pipeline.package.package import load_package


def main(model: Path, scans: Path, out: Path) -> None:
    package = load_package(model)
    classifier = package.build_classifier()
    plan = package.plan
    transforms = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            Spacingd("image", pixdim=plan.spacing, mode="bilinear"),
            ScaleIntensityRanged("image", plan.intensity.low, plan.intensity.high, -1, 1, clip=True),
            ResizeWithPadOrCropd("image", spatial_size=plan.size, mode="constant", constant_values=-1),
        ]
    )
    files = sorted(scans.rglob("*.nii.gz"))
    data = Dataset([{"image": str(path), "name": path.name} for path in files], transforms)
    rows = []
    with torch.no_grad():
        for batch in DataLoader(data, batch_size=1, num_workers=cores()):
            logits = classifier(batch["image"].as_tensor()).numpy()
            chances = [
                class_probabilities(finding, logits[:, where], 1.0)[0]
                for finding, where in zip(package.findings, output_slices(package.findings), strict=True)
            ]
            rows.append([batch["name"][0], *np.concatenate(chances).tolist()])
    names = [f"{finding.name}_p_{label}" for finding in package.findings for label in finding.classes]
    with out.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", *names])
        writer.writerows(rows)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
