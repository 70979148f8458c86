"""Exports of old systems name files in Latin-1: such a name is no UTF-8, and Python holds it with surrogates."""

import csv
import os
from pathlib import Path

from phantoms.exports import write_labels, write_nifti_export, yes_no

from pipeline.cohort.pseudonyms import Pseudonyms
from pipeline.stages import ingest

COUNT = 12
TEXT = (".csv", ".json", ".html")


def test_files_in_latin_1_are_used_and_every_table_is_utf8(tmp_path: Path) -> None:
    """All series are read by the second reader too, for it is given their names."""
    scans = tmp_path / "scans"
    before = write_nifti_export(scans, COUNT)
    odd = [os.fsdecode(f"{number} größe.nii.gz".encode("latin-1")) for number in range(COUNT)]
    for old, new in zip(before, odd, strict=True):
        (scans / old).rename(scans / new)
    (scans / os.fsdecode(b"br\xfcche.nii")).write_bytes(b"\x5c\x01\0\0" + bytes(400))
    shown = [f"{number} größe.nii.gz" for number in range(COUNT)]
    labels = {"path": shown, "modality": ["MR"] * COUNT, "lesion": yes_no(COUNT)}
    write_labels(tmp_path / "labels.csv", labels)
    out = tmp_path / "out" / "cohort.csv"
    given = {
        "scans": scans,
        "out": out,
        "processes": 0,
        "labels": {"file": tmp_path / "labels.csv", "modality_column": "modality"},
        "cross_check": {"reader": "simpleitk", "series": 0},
    }
    ingest.run(ingest.Config.from_mapping(given))

    names = Pseudonyms.open(None)
    written = [path for path in (*out.parent.iterdir(), names.map_file) if path.suffix in TEXT]
    assert len(written) >= 6
    for path in written:
        assert "\\ud" not in path.read_text(encoding="utf-8"), path
    with out.with_name("cohort.files.csv").open(encoding="utf-8") as file:
        rows = {Path(row["path"]).name: row["disposition"] for row in csv.DictReader(file)}
    assert rows == {rf"{n} gr\xF6\xDFe.nii.gz": "used" for n in range(COUNT)} | {r"br\xFCche.nii": "rejected"}
    assert {raw for kind, raw in names.known().values() if kind == "series"} >= set(odd)
