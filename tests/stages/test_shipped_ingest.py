"""Every shipped configuration of ingest reads a folder of its kind."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.cohort.tables import load_manifest
from pipeline.domain.case import Split
from pipeline.stages.ingest import Config, run

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "ingest").glob("*.yaml"))


def write_mednist(folder: Path, each: int = 4) -> None:
    """Pictures in folders by class, with the table of paths and labels that lies beside them."""
    rng = np.random.default_rng(0)
    rows = []
    for name in ("AbdomenCT", "BreastMRI", "CXR", "ChestCT", "Hand", "HeadCT"):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
            coarse.resize((64, 64)).save(folder / name / f"{number:06d}.jpeg")
            rows.append((f"{name}/{number:06d}.jpeg", name, "0" * 32))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "md5"), *rows])


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_it_reads_a_folder(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESDX_KEY_FILE", str(tmp_path / "key"))
    scans, out = tmp_path / "scans", tmp_path / "cohort.csv"
    {"mednist": write_mednist}[path.stem](scans)
    outcome = run(
        Config.load(path, [f"scans={scans}", f"out={out}", f"labels.file={scans / 'manifest.csv'}", "processes=0"])
    )
    assert outcome.exit_code == 0
    manifest = load_manifest(out)
    assert len(manifest.cases) == 24 and len(manifest.of(Split.TEST)) == 0
    (finding,) = manifest.findings
    assert {case.labels[finding.name] for case in manifest.of(Split.TRAIN)} == set(finding.classes)
