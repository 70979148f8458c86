"""``resdx import medmnist``: known images become scans that the readers return as they were; all else is refused."""

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from pipeline.cli import app
from pipeline.cohort.tables import load_manifest
from pipeline.domain.case import Split
from pipeline.errors import UsageError
from pipeline.preprocessing.mask_shape import MEASURES
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read
from pipeline.stages.import_medmnist import MANIFESTS, Config, run

COUNTS = {"train": 5, "val": 2, "test": 3}
SPLITS = {"train": "train", "val": "validation", "test": "test"}
RANDOM = np.random.default_rng(5)


def arrays(shape: tuple[int, ...] = (4, 6), classes: int = 2, columns: int = 1) -> dict[str, np.ndarray]:
    made: dict[str, np.ndarray] = {}
    for prefix, count in COUNTS.items():
        made[f"{prefix}_images"] = RANDOM.integers(0, 256, (count, *shape), dtype=np.uint8)
        labels = np.arange(count * columns).reshape(count, columns) % classes
        made[f"{prefix}_labels"] = labels.astype(np.uint8)
    return made


def saved(path: Path, content: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(path, **content)
    return path


def labels_of(out: Path) -> list[dict[str, str]]:
    with (out / "labels.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def finding_of(out: Path) -> dict[str, object]:
    return yaml.safe_load((out / "ingest.yaml").read_text(encoding="utf-8"))["labels"]["findings"][0]


@pytest.mark.parametrize(
    ("name", "shape", "suffix"),
    [("breastmnist", (4, 6), ".png"), ("retinamnist", (4, 6, 3), ".png"), ("adrenalmnist3d", (8, 8, 8), ".nii.gz")],
)
def test_the_readers_return_every_image_as_it_was(
    tmp_path: Path, name: str, shape: tuple[int, ...], suffix: str
) -> None:
    known = arrays(shape)

    run(Config(file=saved(tmp_path / f"{name}.npz", known), out=tmp_path / "out"))

    options = ReadOptions(modality="CT")
    found = discover(tmp_path / "out" / "scans", options)
    assert not found.refusals
    volumes = {series.key: read(series, options) for series in found.series}
    assert len(volumes) == sum(COUNTS.values())
    for prefix, count in COUNTS.items():
        for index in range(count):
            volume, image = volumes[f"{SPLITS[prefix]}/{index:05d}{suffix}"], known[f"{prefix}_images"][index]
            if suffix == ".png":  # rows first in the array, columns first in a Volume
                shown = image.reshape(*image.shape, 1) if image.ndim == 2 else image
                np.testing.assert_array_equal(volume.voxels[..., 0], shown.transpose(2, 1, 0))
            else:
                np.testing.assert_array_equal(volume.voxels[0], image)
                np.testing.assert_array_equal(volume.geometry.matrix, np.diag([8.0, 8.0, 8.0, 1.0]))


def test_labels_name_class_split_patient_and_modality(tmp_path: Path) -> None:
    outcome = run(Config(file=saved(tmp_path / "breastmnist.npz", arrays()), out=tmp_path / "out"))

    rows = labels_of(tmp_path / "out")
    assert [(row["split"], row["label"]) for row in rows[:3]] == [
        ("train", "malignant"),
        ("train", "normal or benign"),
        ("train", "malignant"),
    ]
    assert [row["split"] for row in rows] == ["train"] * 5 + ["validation"] * 2 + ["test"] * 3
    assert len({row["patient_id"] for row in rows}) == len(rows) == 10
    assert {row["modality"] for row in rows} == {"US"}
    assert outcome.exit_code == 0
    assert any("each counts as a patient of its own" in line for line in outcome.lines)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "expected"),
    [
        ("breastmnist", (4, 6), 2, {"kind": "binary", "positive": "malignant"}),
        ("adrenalmnist3d_64", (8, 8, 8), 2, {"kind": "binary", "positive": "hyperplasia"}),
        ("retinamnist_224", (4, 6, 3), 5, {"kind": "ordinal", "classes": ["0", "1", "2", "3", "4"]}),
        ("pathmnist", (4, 6, 3), 3, {"kind": "multiclass", "classes": ["0", "1", "2"]}),
        ("ours", (4, 6), 2, {"name": "label", "kind": "binary", "positive": "1"}),
        ("ours", (4, 6), 3, {"name": "label", "kind": "multiclass", "classes": ["0", "1", "2"]}),
    ],
)
def test_the_finding_fits_the_data_set(
    tmp_path: Path, name: str, shape: tuple[int, ...], classes: int, expected: dict[str, object]
) -> None:
    run(Config(file=saved(tmp_path / f"{name}.npz", arrays(shape, classes)), out=tmp_path / "out"))

    assert finding_of(tmp_path / "out").items() >= expected.items()


def test_masks_are_measured_and_ingest_carries_what_was_measured(tmp_path: Path) -> None:
    """Of a cube of 64 mm with 8 voxels a side: 8 mm voxels, half a millilitre each."""
    content = arrays((8, 8, 8))
    for prefix in COUNTS:
        content[f"{prefix}_images"][...] = 0
        for index, image in enumerate(content[f"{prefix}_images"]):
            image[1 : 3 + index, 2:4, 5:7] = 255
    out = tmp_path / "out"
    outcome = run(Config(file=saved(tmp_path / "adrenalmnist3d.npz", content), out=out))
    assert [float(row["volume_ml"]) for row in labels_of(out)[:3]] == pytest.approx([8 * 0.512, 12 * 0.512, 16 * 0.512])

    command = shlex.split(outcome.lines[-1].removeprefix("Next: "))
    ingested = CliRunner().invoke(app, [*command[1:], "processes=0"])

    assert ingested.exit_code == 0, ingested.output
    cases = load_manifest(out / "cohort" / "cohort.csv").of(Split.TRAIN)
    assert sorted(float(case.covariates["volume_ml"]) for case in cases) == pytest.approx(
        [count * 0.512 for count in (8, 12, 16, 20, 24)], rel=1e-3
    )
    assert all(set(MEASURES) <= case.covariates.keys() for case in cases)


def test_several_label_columns_are_multilabel_and_none_is_not_unknown(tmp_path: Path) -> None:
    content = arrays(columns=2)
    content["train_labels"][:3] = [[0, 0], [1, 1], [0, 1]]

    run(Config(file=saved(tmp_path / "ours.npz", content), out=tmp_path / "out"))

    assert [row["label"] for row in labels_of(tmp_path / "out")[:3]] == ["none", "0|1", "1"]
    assert finding_of(tmp_path / "out").items() >= {"kind": "multilabel", "values": {"none": ""}}.items()


def test_images_that_two_splits_share_are_counted_and_acknowledged(tmp_path: Path) -> None:
    content = arrays()
    run(Config(file=saved(tmp_path / "ours.npz", content), out=tmp_path / "apart"))
    content["test_images"][1] = content["train_images"][4]

    outcome = run(Config(file=saved(tmp_path / "ours.npz", content), out=tmp_path / "shared"))

    assert "acknowledge_leaks" not in (tmp_path / "apart" / "ingest.yaml").read_text()
    assert yaml.safe_load((tmp_path / "shared" / "ingest.yaml").read_text())["acknowledge_leaks"] is True
    assert any(line.startswith("Note: 1 image(s) stand, pixel for pixel") for line in outcome.lines)


@pytest.mark.parametrize("shape", [(28, 28), (28, 28, 3), (16, 16, 16)])
def test_near_copies_in_two_splits_are_counted_and_acknowledged(tmp_path: Path, shape: tuple[int, ...]) -> None:
    content = arrays(shape)
    rng = np.random.default_rng(4)
    content["train_images"] = rng.integers(20, 220, content["train_images"].shape).astype(np.uint8)
    content["test_images"][1] = content["train_images"][4] + 7

    outcome = run(Config(file=saved(tmp_path / "ours.npz", content), out=tmp_path / "out"))

    assert yaml.safe_load((tmp_path / "out" / "ingest.yaml").read_text())["acknowledge_leaks"] is True
    assert any(line.startswith("Note: 2 images have a near copy in another official split") for line in outcome.lines)


def test_equal_files_make_equal_folders(tmp_path: Path) -> None:
    file = saved(tmp_path / "adrenalmnist3d.npz", arrays((8, 8, 8)))
    for name in ("a", "b"):
        run(Config(file=file, out=tmp_path / name))

    first = {path.relative_to(tmp_path / "a"): path.read_bytes() for path in (tmp_path / "a").rglob("*.*")}
    assert first == {path.relative_to(tmp_path / "b"): path.read_bytes() for path in (tmp_path / "b").rglob("*.*")}


class Payload:
    """A pickle of this writes a file where it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_no_pickle_is_loaded(tmp_path: Path) -> None:
    content = arrays()
    content["test_labels"] = np.array([[Payload(tmp_path / "executed")]] * 3, dtype=object)

    with pytest.raises(UsageError, match="test_labels holds object"):
        run(Config(file=saved(tmp_path / "ours.npz", content), out=tmp_path / "out"))
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"val_images": None}, "holds the arrays"),
        ({"extra": np.zeros(3)}, "holds the arrays extra"),
        ({"val_images": np.zeros((2, 5, 6), "u1")}, "images have the shapes"),
        ({"train_images": np.zeros((5, 4, 6), "f4")}, "train_images holds float32"),
        ({"train_labels": np.zeros((4, 1), "u1")}, "train_labels has the shape"),
        ({"train_labels": np.zeros(5, "u1")}, "train_labels has the shape"),
        ({"train_labels": np.zeros((5, 2), "u1")}, "another number of label columns"),
        ({"train_labels": np.full((5, 1), 7, "u1")}, "does not fit the data set of that name"),
    ],
)
def test_what_is_no_medmnist_is_refused_by_name(
    tmp_path: Path, change: dict[str, np.ndarray | None], message: str
) -> None:
    content = {key: value for key, value in {**arrays(), **change}.items() if value is not None}

    with pytest.raises(UsageError, match=message):
        run(Config(file=saved(tmp_path / "breastmnist.npz", content), out=tmp_path / "out"))


@pytest.mark.parametrize("content", [b"", b"no zip", None])
def test_what_is_no_npz_is_refused(tmp_path: Path, content: bytes | None) -> None:
    file = saved(tmp_path / "ours.npz", arrays())
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if content is None else content)

    with pytest.raises(UsageError, match="cannot be read"):
        run(Config(file=file, out=tmp_path / "out"))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("mine")

    with pytest.raises(UsageError, match="is not empty"):
        run(Config(file=saved(tmp_path / "ours.npz", arrays()), out=tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_another_file_under_a_known_name_is_noticed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run(Config(file=saved(tmp_path / "breastmnist.npz", arrays()), out=tmp_path / "out"))

    assert "breastmnist.npz is not the published file" in caplog.text


@pytest.mark.parametrize("name", ["adrenalmnist3d", "breastmnist", "retinamnist"])
def test_the_manifests_hold_digests_only(name: str) -> None:
    with (MANIFESTS / f"{name}.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))

    assert set(rows[0]) == {"split", "index", "label", "sha256"}
    assert len(rows) == {"adrenalmnist3d": 1584, "breastmnist": 780, "retinamnist": 1600}[name]
    assert all(len(row["sha256"]) == 64 for row in rows)


@pytest.mark.shared_data
def test_breastmnist_goes_from_its_file_to_a_manifest(
    shared_data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runner = CliRunner()
    file = shared_data / "medmnist" / "breastmnist.npz"

    imported = runner.invoke(app, ["import", "medmnist", str(file), str(tmp_path / "out")])
    command = shlex.split(imported.output.splitlines()[-1].removeprefix("Next: "))
    ingested = runner.invoke(app, [*command[1:], "processes=0"])

    assert imported.exit_code == 0, imported.output
    assert "780 images (train 546, validation 78, test 156)" in imported.output
    assert "1 image(s) stand, pixel for pixel" in imported.output
    assert "have a near copy in another official split" in imported.output
    assert "not the published file" not in caplog.text
    assert ingested.exit_code == 0, ingested.output
    header = json.loads((tmp_path / "out" / "cohort" / "cohort.json").read_text())
    counts = {"inputs": 780, "used": 780, "skipped": 0, "rejected": 0, "cases": 780}
    assert header["counts"] == counts
    assert header["acknowledged_leaks"] == 60, "one image stands twice, 59 others have near copies in another split"
    assert header["findings"][0]["classes"] == ["normal or benign", "malignant"]


@pytest.mark.parametrize(("label", "columns", "most"), [(-1, 1, 9), (10, 1, 9), (-1, 3, 1), (2, 3, 1), (2**40, 1, 9)])
def test_a_label_that_is_no_class_is_refused(tmp_path: Path, label: int, columns: int, most: int) -> None:
    known = {name: array.astype(np.int64) for name, array in arrays(columns=columns).items() if "labels" in name}
    known["val_labels"][1, 0] = label
    path = saved(tmp_path / "new.npz", arrays() | known)

    with pytest.raises(UsageError, match=rf"val_labels holds {label} at image 1; labels are 0 to {most}\."):
        run(Config(file=path, out=tmp_path / "out"))
    assert not (tmp_path / "out").exists()
