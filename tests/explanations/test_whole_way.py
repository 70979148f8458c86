"""What a prediction stage does with one case: predict, explain, and write what a reviewer opens."""

import io
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from phantoms.lesions import plant
from phantoms.packages import FINDINGS, make_package, make_plan
from PIL import Image

from pipeline.engines.inference import interpret_one, run_prepared
from pipeline.engines.torch import Config as TorchConfig
from pipeline.explanations.answers import explain
from pipeline.explanations.settings import ExplainSettings
from pipeline.preprocessing.scan_grid import onto_scan_grid, prepared_spacing
from pipeline.preprocessing.transforms import prepare
from pipeline.writers.film import contact_sheet, make_strips
from pipeline.writers.heatmaps import write_heatmap
from pipeline.writers.strip_files import load_strips, save_strips


@pytest.mark.parametrize("ndim", [2, 3])
@pytest.mark.parametrize("kind", ["grad_cam", "hires_cam"])
def test_an_ensemble_with_flips_and_findings_of_every_kind(kind: str, ndim: int, tmp_path: Path) -> None:
    plan = make_plan(ndim)
    package = make_package(tmp_path / "package", ndim=ndim, plan=plan, tta_flips=(0, 1), members=2)
    settings = ExplainSettings.from_mapping({"method": {"kind": kind}, "answers": "all"})
    assert settings.method is not None
    explainer = settings.method.build(package)
    scan = plant(3, ndim, 30, lesion=True).volume
    image = prepare(scan, plan)

    predicted = interpret_one(run_prepared(image, TorchConfig().build(package)), package)
    heatmaps = explain(explainer, image, package.findings, predicted, settings.answers)
    spacing = prepared_spacing(scan.geometry, plan)
    strips = make_strips(image, spacing, plan.ndim, heatmaps)
    save_strips(tmp_path / "strips", "C1", strips)
    for finding, heat in heatmaps.items():
        write_heatmap(tmp_path / f"C1.{finding}.nii.gz", onto_scan_grid(heat, scan.geometry, plan), scan.geometry)

    assert {"lesion", "organ", "grade"} <= set(heatmaps) <= {finding.name for finding in FINDINGS}
    assert load_strips(tmp_path / "strips", "C1") == strips
    assert Image.open(io.BytesIO(strips.slices)).size == (strips.frames * strips.width, strips.height)
    for finding, heat in heatmaps.items():
        read = nib.load(tmp_path / f"C1.{finding}.nii.gz")
        assert read.shape[:ndim] == scan.geometry.shape[:ndim]
        np.testing.assert_allclose(read.affine, scan.geometry.matrix, atol=1e-4)
        sheet = contact_sheet(image, spacing, plan.ndim, heat)
        assert sheet.dtype == np.uint8 and sheet.shape[2] == 3
