import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
from phantoms.packages import FINDINGS, OUTPUTS, make_network, make_package

from pipeline.domain.frozen import digest
from pipeline.errors import PackageError
from pipeline.networks.classifier import build_classifier
from pipeline.package.content import CARD, CARD_TEXT, CONTENT, DIGESTS, SEALED, WEIGHTS, sealed_files, sha256_of
from pipeline.package.package import ModelPackage, load_package, save_package


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("package") / "package", ndim=2)


@pytest.fixture
def copy(original: ModelPackage, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original.folder, tmp_path / "copy"))


def edit_json(path: Path, *keys: str | int, value: object) -> None:
    data = json.loads(path.read_text())
    target = data
    for key in keys[:-1]:
        target = target[key]
    assert target[keys[-1]] != value
    target[keys[-1]] = value
    path.write_text(json.dumps(data, indent=2) + "\n")


def test_what_is_saved_is_what_is_loaded(original: ModelPackage, copy: Path) -> None:
    loaded = load_package(copy)

    assert loaded.content == original.content
    assert loaded.card == original.card
    assert loaded.digest == original.digest
    assert (loaded.findings, loaded.outputs) == (FINDINGS, OUTPUTS)
    assert {entry.name for entry in copy.iterdir()} == {*SEALED, DIGESTS}


def test_the_classifier_has_the_saved_weights_and_is_in_evaluation_mode(tmp_path: Path) -> None:
    source = build_classifier(make_network(), FINDINGS, 3, 1)
    source.train()(torch.randn(4, 1, 12, 10, 8))
    base = make_package(tmp_path / "base").content
    package = save_package(
        tmp_path / "package",
        classifier_state=source.state_dict(),
        network=base.network,
        plan=base.plan,
        fingerprint=base.fingerprint,
        findings=base.findings,
        calibration=(),
        operating_points=(),
        manifest_digest=base.manifest_digest,
        card=load_package(tmp_path / "base").card,
    )

    classifier = package.build_classifier()

    assert not classifier.training
    image = torch.randn(2, 1, 12, 10, 8)
    with torch.inference_mode():
        assert torch.equal(classifier(image), source.eval()(image))
    assert package.digest != load_package(tmp_path / "base").digest


def test_equal_content_gives_equal_bytes_and_the_card_does_not_name_the_model(
    original: ModelPackage, tmp_path: Path
) -> None:
    again = make_package(tmp_path / "again", ndim=2)

    assert again.digests == original.digests
    assert original.digest == digest(
        {
            "weights": sha256_of(original.folder / WEIGHTS),
            "content": json.loads((original.folder / CONTENT).read_text()),
        }
    )


@pytest.mark.parametrize(
    ("name", "keys", "value"),
    [
        (CONTENT, ("operating_points", 0, "threshold"), 0.1),
        (CONTENT, ("calibration", 0, "temperature"), 3.0),
        (CONTENT, ("plan", "spacing"), [1.0, 1.0]),
        (CONTENT, ("plan", "intensity", "low"), -1000.0),
        (CONTENT, ("findings", 1, "classes"), ["kidney", "liver", "spleen"]),
        (CONTENT, ("network", "dropout"), 0.5),
        (CONTENT, ("manifest_digest",), "b" * 64),
        (CONTENT, ("tta_flips",), [0]),
        (CARD, ("intended_use",), "Anything."),
    ],
)
def test_an_edit_of_any_setting_is_refused(copy: Path, name: str, keys: tuple[str | int, ...], value: object) -> None:
    edit_json(copy / name, *keys, value=value)

    with pytest.raises(PackageError, match=f"refused: digest of {name}"):
        load_package(copy)


def test_an_edit_that_also_mends_its_file_digest_no_longer_is_the_named_model(copy: Path) -> None:
    edit_json(copy / CONTENT, "operating_points", 0, "threshold", value=0.1)
    edit_json(copy / DIGESTS, "files", CONTENT, value=sha256_of(copy / CONTENT))

    with pytest.raises(PackageError, match="digest of the model"):
        load_package(copy)


def test_an_edited_model_digest_is_refused(copy: Path) -> None:
    edit_json(copy / DIGESTS, "model", value="0" * 64)

    with pytest.raises(PackageError, match="digest of the model"):
        load_package(copy)


def test_edited_weights_and_an_edited_text_card_are_refused(copy: Path) -> None:
    text = (copy / CARD_TEXT).read_bytes()
    (copy / CARD_TEXT).write_bytes(text.replace(b"Not for", b"For all"))
    with pytest.raises(PackageError, match=f"refused: digest of {CARD_TEXT}"):
        load_package(copy)

    (copy / CARD_TEXT).write_bytes(text)
    weights = bytearray((copy / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (copy / WEIGHTS).write_bytes(weights)
    with pytest.raises(PackageError, match=f"refused: digest of {WEIGHTS}"):
        load_package(copy)


def test_weights_changed_between_loading_and_building_are_refused(copy: Path) -> None:
    package = load_package(copy)
    tensors = safetensors.numpy.load_file(copy / WEIGHTS)
    safetensors.numpy.save_file({name: np.zeros_like(value) for name, value in tensors.items()}, copy / WEIGHTS)

    with pytest.raises(PackageError, match=f"refused: digest of {WEIGHTS}"):
        package.build_classifier()


@pytest.mark.parametrize("name", [*SEALED, DIGESTS])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()

    with pytest.raises(PackageError, match=name):
        load_package(copy)


def test_a_foreign_file_is_named(copy: Path) -> None:
    (copy / "model.pkl").write_bytes(b"\x80\x04.")

    with pytest.raises(PackageError, match=r"model\.pkl does not belong"):
        load_package(copy)


def test_another_schema_version_is_told_apart_from_damage(copy: Path) -> None:
    edit_json(copy / CONTENT, "schema_version", value=99)
    edit_json(copy / DIGESTS, "files", CONTENT, value=sha256_of(copy / CONTENT))

    with pytest.raises(PackageError, match="schema version 99, this resdx reads 1"):
        load_package(copy)


def test_scans_prepared_by_another_version_are_not_fed_to_it(copy: Path) -> None:
    edit_json(copy / CONTENT, "preparation_version", value=99)
    edit_json(copy / DIGESTS, "files", CONTENT, value=sha256_of(copy / CONTENT))

    with pytest.raises(PackageError, match="prepared by version 99"):
        load_package(copy)


def test_weights_that_are_not_finite_are_never_packed(original: ModelPackage, tmp_path: Path) -> None:
    content = original.content
    state = original.build_classifier().state_dict()
    name = next(iter(state))
    state[name] = torch.full_like(state[name], torch.inf)

    with pytest.raises(PackageError, match="not finite"):
        save_package(
            tmp_path / "package",
            classifier_state=state,
            network=content.network,
            plan=content.plan,
            fingerprint=content.fingerprint,
            findings=content.findings,
            calibration=content.calibration,
            operating_points=content.operating_points,
            manifest_digest=content.manifest_digest,
            card=original.card,
        )
    assert list(tmp_path.iterdir()) == []


def test_a_refused_save_leaves_the_old_package(copy: Path) -> None:
    old = load_package(copy)
    content = old.content
    state = dict(list(old.build_classifier().state_dict().items())[:-1])

    with pytest.raises(PackageError, match="does not fit the network"):
        save_package(
            copy,
            classifier_state=state,
            network=content.network,
            plan=content.plan,
            fingerprint=content.fingerprint,
            findings=content.findings,
            calibration=content.calibration,
            operating_points=content.operating_points,
            manifest_digest=content.manifest_digest,
            card=old.card,
        )
    assert load_package(copy).digest == old.digest
    assert [entry.name for entry in copy.parent.iterdir()] == [copy.name]


def test_a_threshold_of_an_unknown_finding_is_refused(original: ModelPackage) -> None:
    data = original.content.model_dump(mode="json")
    data["operating_points"][0]["finding"] = "fracture"

    with pytest.raises(ValueError, match="operating_points must name"):
        type(original.content).model_validate(data)


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory: pytest.TempPathFactory) -> ModelPackage:
    return make_package(tmp_path_factory.mktemp("ensemble") / "package", ndim=2, members=3)


def test_an_ensemble_keeps_every_member_in_order(ensemble: ModelPackage, original: ModelPackage) -> None:
    assert {entry.name for entry in ensemble.folder.iterdir()} == {*sealed_files(3), DIGESTS}
    assert (original.members, ensemble.members) == (1, 3)
    classifiers = ensemble.build_classifiers()
    first = original.build_classifier().state_dict()
    assert all(torch.equal(value, first[name]) for name, value in classifiers[0].state_dict().items())
    heads = [next(reversed(classifier.state_dict().values())) for classifier in classifiers]
    assert len({head.numpy().tobytes() for head in heads}) == 3
    assert not any(classifier.training for classifier in classifiers)
    with pytest.raises(ValueError, match="unpack"):
        ensemble.build_classifier()


def test_the_order_and_number_of_members_name_the_model(ensemble: ModelPackage, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ensemble.folder, tmp_path / "copy"))
    listed = json.loads((copy / DIGESTS).read_text())
    one, other = "weights_0.safetensors", "weights_1.safetensors"
    (copy / one).rename(copy / "swap")
    (copy / other).rename(copy / one)
    (copy / "swap").rename(copy / other)
    listed["files"][one], listed["files"][other] = listed["files"][other], listed["files"][one]
    (copy / DIGESTS).write_text(json.dumps(listed))
    with pytest.raises(PackageError, match="digest of the model"):
        load_package(copy)


@pytest.mark.parametrize("left_out", ["weights_0.safetensors", "weights_2.safetensors"])
def test_an_ensemble_without_one_of_its_members_is_refused(
    ensemble: ModelPackage, tmp_path: Path, left_out: str
) -> None:
    copy = Path(shutil.copytree(ensemble.folder, tmp_path / "copy"))
    (copy / left_out).unlink()
    with pytest.raises(PackageError, match=left_out):
        load_package(copy)
    listed = json.loads((copy / DIGESTS).read_text())
    del listed["files"][left_out]
    (copy / DIGESTS).write_text(json.dumps(listed))
    with pytest.raises(PackageError, match=r"does not list exactly|digest of the model"):
        load_package(copy)


def test_changed_weights_of_one_member_are_refused(ensemble: ModelPackage, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(ensemble.folder, tmp_path / "copy"))
    weights = bytearray((copy / "weights_1.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "weights_1.safetensors").write_bytes(weights)
    with pytest.raises(PackageError, match=r"digest of weights_1\.safetensors"):
        load_package(copy)
