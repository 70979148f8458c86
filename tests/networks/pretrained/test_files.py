"""Files of weights: every form that is read, and what is refused."""

import json
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from phantoms.packages import make_package
from phantoms.peers import classifier, monai, saved

from pipeline.errors import PretrainedError
from pipeline.networks.pretrained.files import digest_of, read_weights
from pipeline.networks.pretrained.layouts import recognise, translate
from pipeline.networks.pretrained.loading import load_pretrained
from pipeline.networks.pretrained.settings import PretrainedSettings


class Executed:
    """Would create a file if it were unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


def test_every_form_gives_the_same_tensors(tmp_path: Path) -> None:
    state = monai(10, 2).state_dict()
    inner = {f"module.{name}": tensor for name, tensor in state.items()}
    torch.save({"epoch": 3, "state_dict": inner, "optimizer": {"lr": 0.1}}, tmp_path / "wrapped.pth")
    torch.save({"model": {"state_dict": state}}, tmp_path / "twice.pth")
    torch.save(state, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    safetensors.torch.save_file(state, tmp_path / "weights.safetensors")
    safetensors.torch.save_file(state, tmp_path / "renamed.bin")
    for name in ("wrapped.pth", "twice.pth", "old.pth", "weights.safetensors", "renamed.bin"):
        file = read_weights(tmp_path / name)
        trunk = recognise(file).trunk
        assert torch.equal(trunk["stages.2.0.conv1.weight"], state["layer3.0.conv1.weight"]), name
        assert file.digest == digest_of(tmp_path / name)


def test_half_precision_becomes_that_of_the_network(tmp_path: Path) -> None:
    state = {name: tensor.bfloat16() for name, tensor in classifier(2, depth=10).state_dict().items()}
    ours = classifier(2, depth=10)
    load_pretrained(ours, PretrainedSettings(file=saved(state, tmp_path / "weights.pt")))
    assert ours.backbone.stem.conv.weight.dtype == torch.float32
    assert torch.equal(ours.backbone.stem.conv.weight, state["backbone.stem.conv.weight"].float())


def test_pickled_objects_are_never_executed(tmp_path: Path) -> None:
    mark = tmp_path / "executed"
    torch.save({"state_dict": Executed(mark)}, tmp_path / "torch.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Executed(mark)))
    for name in ("torch.pth", "plain.pkl"):
        with pytest.raises(PretrainedError, match="never executed") as caught:
            read_weights(tmp_path / name)
        assert "model.state_dict()" in str(caught.value)
    assert not mark.exists()


@pytest.mark.parametrize("form", ["safetensors", "pt", "old.pt"])
@pytest.mark.parametrize("damage", ["empty", "cut", "noise"])
def test_damage_is_told(form: str, damage: str, tmp_path: Path) -> None:
    state, path = monai(10, 2).state_dict(), tmp_path / f"weights.{form}"
    if form == "safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "pt")
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "cut": whole[: len(whole) // 2], "noise": bytes(range(1, 256)) * 40}[damage])
    with pytest.raises(PretrainedError, match=path.name):
        read_weights(path)


def test_a_program_and_a_file_without_weights_are_refused(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "program.pt"))
    torch.save({"epoch": 3, "history": [1, 2]}, tmp_path / "log.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    for name, message in (("program.pt", "TorchScript"), ("log.pt", "no weights by name"), ("list.pt", "found list")):
        with pytest.raises(PretrainedError, match=message):
            read_weights(tmp_path / name)
    with pytest.raises(PretrainedError, match="cannot be read: No such file"):
        read_weights(tmp_path / "absent.pt")
    with pytest.raises(PretrainedError, match="cannot be read: No such file"):
        digest_of(tmp_path / "absent.pt")


def test_a_changed_package_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    package = make_package(folder)
    assert read_weights(folder).findings == package.findings
    assert read_weights(folder).name == "the package lesion detector"
    assert read_weights(folder).digest == package.digests.files["weights.safetensors"] == digest_of(folder)
    content = folder / "package.json"
    content.write_text(content.read_text().replace('"lesion"', '"cancer"'))
    with pytest.raises(PretrainedError, match=r"digest of package\.json"):
        read_weights(folder)
    (folder / "digests.json").write_text(json.dumps({"files": []}))
    with pytest.raises(PretrainedError, match="digest of"):
        read_weights(folder)
    (folder / "digests.json").unlink()
    with pytest.raises(PretrainedError, match="no model package"):
        read_weights(folder)


def test_a_file_of_two_networks_needs_a_choice(tmp_path: Path) -> None:
    first, second = monai(10, 2).state_dict(), monai(10, 2).state_dict()
    both = {f"encoder_q.{name}": tensor for name, tensor in first.items()}
    both |= {f"encoder_k.{name}": tensor for name, tensor in second.items()}
    file = read_weights(saved(both, tmp_path / "moco.pt"))
    with pytest.raises(PretrainedError, match=r"holds 2 networks: encoder_q\., encoder_k\.\. .*pretrained\.prefix"):
        recognise(file)
    found = recognise(file, "encoder_k")
    assert torch.equal(found.trunk["stem.conv.weight"], second["conv1.weight"])
    assert len(found.others) == len(first)
    with pytest.raises(PretrainedError, match="no residual network below encoder_x"):
        recognise(file, "encoder_x")


def test_checkpoints_of_our_own_runs(tmp_path: Path) -> None:
    """The trained weights and, beside them, their average over steps."""
    theirs, ours = classifier(2, depth=10), classifier(2, depth=10)
    trained = {f"classifier.{name}": tensor for name, tensor in theirs.state_dict().items()}
    average = {f"averaged.module.{name}": tensor + 1 for name, tensor in theirs.state_dict().items()}
    plain = saved({"epoch": 1, "state_dict": trained, "loops": {}}, tmp_path / "plain.ckpt")
    load_pretrained(ours, PretrainedSettings(file=plain))
    assert torch.equal(ours.backbone.stem.conv.weight, theirs.backbone.stem.conv.weight)
    both = saved({"state_dict": trained | average}, tmp_path / "both.ckpt")
    load_pretrained(ours, PretrainedSettings(file=both, prefix="averaged.module.backbone"))
    assert torch.equal(ours.backbone.stem.conv.weight, theirs.backbone.stem.conv.weight + 1)


def test_another_kind_of_network_is_refused_by_name(tmp_path: Path) -> None:
    file = read_weights(saved({"features.0.weight": torch.zeros(2, 1, 3, 3)}, tmp_path / "vgg.pt"))
    with pytest.raises(PretrainedError, match=r"first names: features\.0\.weight"):
        recognise(file)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("conv1.weight", "stem.conv.weight"),
        ("bn1.running_var", "stem.norm.running_var"),
        ("layer1.0.conv1.weight", "stages.0.0.conv1.weight"),
        ("layer4.22.bn3.num_batches_tracked", "stages.3.22.norm3.num_batches_tracked"),
        ("layer2.0.downsample.0.weight", "stages.1.0.shortcut.conv.weight"),
        ("layer2.0.downsample.1.bias", "stages.1.0.shortcut.norm.bias"),
        ("layer2.0.attention.weight", None),
        ("neck.conv1.weight", None),
    ],
)
def test_names_of_torchvision(theirs: str, ours: str | None) -> None:
    assert translate(theirs) == ours


def test_an_ensemble_says_that_a_member_is_to_be_named(tmp_path: Path) -> None:
    (tmp_path / "weights_0.safetensors").touch()
    for read in (read_weights, digest_of):
        with pytest.raises(PretrainedError, match="is an ensemble"):
            read(tmp_path)
