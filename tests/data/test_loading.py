"""Loaders cover every case once an epoch, in an order and with changes that follow from (seed, epoch)."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from pipeline.data.batch import Batch
from pipeline.data.datamodule import CaseDataModule
from pipeline.data.dataset import PreparedDataset
from pipeline.data.sampling import EpochOrder, EpochSampler, EvenBatches, Visit, balanced_weights
from pipeline.data.settings import AugmentationSettings, DataSettings
from pipeline.domain.case import Case, CaseSeries, Split
from pipeline.domain.finding import Finding, FindingKind
from pipeline.domain.geometry import Geometry, Plane, Unit
from pipeline.domain.manifest import Manifest
from pipeline.domain.plan import Plan, Window
from pipeline.domain.volume import Volume
from pipeline.errors import TrainingError
from pipeline.preprocessing.cache import PreparedCache

LESION = Finding(name="lesion", kind=FindingKind.BINARY, classes=("no", "yes"), positive="yes")
SIGNS = Finding(name="signs", kind=FindingKind.MULTILABEL, classes=("a", "b"))
PLAN = Plan(
    fingerprint="f",
    modality="CT",
    unit=Unit.MM,
    ndim=3,
    channels=1,
    spacing=(1.0, 1.0, 1.0),
    size=(6, 6, 6),
    intensity=Window(low=-100, high=100),
    depth=10,
    batch_size=4,
    precision="auto",
)
OFF = {"shift": 0, "intensity_scale": 0.0, "intensity_shift": 0.0}
AUGMENTED = AugmentationSettings(flip_axes=(0, 1, 2), shift=1, rotation=10, noise=0.05)


def make_case(number: int, split: Split) -> Case:
    series = CaseSeries(
        series=f"S{number}",
        reader="nifti",
        modality="CT",
        shape=(6, 6, 6),
        spacing=(1.0, 1.0, 1.0),
        unit=Unit.MM,
        plane=Plane.AXIAL,
        channels=1,
        digest=f"{number:064x}",
    )
    labels = {"lesion": "yes" if number % 5 == 0 else "no", "signs": "a"} if number != 3 else {}
    return Case(
        case=f"C{number}", patient=f"P{number}", study=f"T{number}", series=(series,), labels=labels, split=split
    )


def read(case: Case) -> Volume:
    voxels = np.random.default_rng(int(case.digest, 16)).uniform(-99, 99, (1, 6, 6, 6)).astype(np.float32)
    return Volume(voxels=voxels, geometry=Geometry.from_matrix((6, 6, 6), np.eye(4)), modality="CT")


SPLITS = [Split.TRAIN] * 21 + [Split.VALIDATION] * 5 + [Split.TEST] * 6
MANIFEST = Manifest(findings=(LESION, SIGNS), cases=tuple(make_case(n, s) for n, s in enumerate(SPLITS)))


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> PreparedCache:
    cache = PreparedCache(tmp_path_factory.mktemp("cache"), PLAN)
    assert cache.fill(MANIFEST.cases, read) == ()
    return cache


@pytest.fixture
def module(cache: PreparedCache) -> Callable[..., CaseDataModule]:
    def make(seed: int = 0, excluded: tuple[str, ...] = (), **settings: object) -> CaseDataModule:
        chosen = DataSettings.model_validate({"augmentation": AUGMENTED} | settings)
        return CaseDataModule(MANIFEST, cache, chosen, batch_size=4, seed=seed, excluded=excluded)

    return make


def epoch(module: CaseDataModule, number: int) -> list[Batch]:
    loader = module.train_dataloader()
    loader.batch_sampler.sampler.set_epoch(number)
    return list(loader)


def names(batches: list[Batch]) -> list[str]:
    return [name for batch in batches for name in batch.case_id]


def test_each_split_visits_each_of_its_cases_once(module: Callable[..., CaseDataModule]) -> None:
    data = module()
    train = names(list(data.train_dataloader()))
    assert sorted(train) == sorted(case.case for case in MANIFEST.of(Split.TRAIN)) and train != sorted(train)
    assert names(list(data.val_dataloader())) == [case.case for case in MANIFEST.of(Split.VALIDATION)]
    assert names(list(data.test_dataloader())) == [case.case for case in MANIFEST.of(Split.TEST)]


def test_batches_hold_prepared_voxels_and_encoded_labels(
    module: Callable[..., CaseDataModule], cache: PreparedCache
) -> None:
    for batch in module().val_dataloader():
        assert batch.image.dtype == torch.float32 and batch.label.dtype == torch.int64
        for image, label, name in zip(batch.image, batch.label, batch.case_id, strict=True):
            case = next(case for case in MANIFEST.cases if case.case == name)
            np.testing.assert_array_equal(image, cache.load(case))
            assert label.tolist() == [int(case.labels["lesion"] == "yes"), 1, 0]
    unknown = PreparedDataset(MANIFEST.cases, cache, MANIFEST.findings)[3]
    assert unknown.label.tolist() == [[-1, -1, -1]] and unknown.case_id == ["C3"]


@pytest.mark.parametrize("workers", [0, 2])
def test_an_epoch_depends_on_seed_and_epoch_only(module: Callable[..., CaseDataModule], workers: int) -> None:
    """A run resumed at epoch 3 sees what an uninterrupted one sees, with and without worker processes."""
    through = module(workers=workers)
    loader = through.train_dataloader()
    for number in range(4):
        loader.batch_sampler.sampler.set_epoch(number)
        uninterrupted = list(loader)
    torch.rand(5)  # neither the global generator ...
    resumed = epoch(module(), 3)  # ... nor the number of workers plays a part
    for one, other in zip(uninterrupted, resumed, strict=True):
        assert (
            one.case_id == other.case_id and torch.equal(one.image, other.image) and torch.equal(one.label, other.label)
        )
    assert names(epoch(module(), 2)) != names(resumed) != names(epoch(module(seed=1), 3))


def test_augmentation_is_for_training_only_and_differs_by_epoch(
    module: Callable[..., CaseDataModule], cache: PreparedCache
) -> None:
    def image(batches: list[Batch], name: str) -> torch.Tensor:
        return next(b.image[b.case_id.index(name)] for b in batches if name in b.case_id)

    first, second = (image(epoch(module(), number), "C4") for number in (0, 1))
    prepared = torch.from_numpy(np.array(cache.load(MANIFEST.cases[4])))
    assert not torch.equal(first, second) and not torch.equal(first, prepared)


class Recorder(pl.LightningModule):
    """Remembers the cases and images that it was trained on."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.seen: list[str] = []
        self.sums: list[float] = []

    def training_step(self, batch: Batch, _: int) -> torch.Tensor:
        self.seen.extend(batch.case_id)
        self.sums.extend(batch.image.double().sum(dim=(1, 2, 3, 4)).tolist())
        return self.layer(batch.image.mean().view(1, 1)).sum()

    def validation_step(self, batch: Batch, _: int) -> None:
        assert batch.case_id

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


def fit(
    data: CaseDataModule, epochs: int, checkpoint: Path | None = None, save: Path | None = None, on: str = "cpu"
) -> Recorder:
    """Train; with `save` keep a checkpoint of every step as `step=N.ckpt`."""
    recorder = Recorder()
    keep = pl.callbacks.ModelCheckpoint(save, "{step}", every_n_train_steps=1, save_top_k=-1) if save else None
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator=on,
        logger=False,
        callbacks=[keep] if keep else None,
        enable_checkpointing=keep is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
    )
    trainer.fit(recorder, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if save:
        trainer.save_checkpoint(save / "after.ckpt")
    return recorder


@pytest.mark.parametrize("workers", [0, 2])
def test_lightning_resumes_at_the_next_batch(
    module: Callable[..., CaseDataModule], tmp_path: Path, workers: int
) -> None:
    """The trainer walks through our orders; resumed at any step it goes on exactly where the first one stopped."""
    whole = fit(module(workers=workers), 3)
    assert whole.seen == [name for number in range(3) for name in names(epoch(module(), number))]
    fit(module(), 2, save=tmp_path)
    sizes = [4, 4, 4, 3, 3, 3] * 2
    for step in (1, 5, 6, 7, 11, 12):
        resumed = fit(module(workers=workers), 3, tmp_path / f"step={step}.ckpt")
        done = sum(sizes[:step])
        assert resumed.seen == whole.seen[done:] and resumed.sums == whole.sums[done:]
    assert fit(module(workers=workers), 3, tmp_path / "after.ckpt").sums == whole.sums[42:]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_device_sees_the_images_that_the_processor_would_have_made(
    module: Callable[..., CaseDataModule], tmp_path: Path, workers: int
) -> None:
    """Also from the middle of an epoch on; without noise, of which each kind of device has its own."""
    still = AUGMENTED.model_copy(update={"noise": 0.0, "gamma": 0.3, "occasional_probability": 0.5})
    loaded = fit(module(augmentation=still), 2)
    moved = fit(module(augmentation=still, augment_on="device", workers=workers), 2, save=tmp_path)
    assert moved.seen == loaded.seen and moved.sums == pytest.approx(loaded.sums, abs=1e-2)
    prepared = fit(module(augmentation=AugmentationSettings.model_validate({**OFF, "flip_axes": []})), 2)
    assert moved.sums != pytest.approx(prepared.sums, abs=1e-2)
    resumed = fit(module(augmentation=still, augment_on="device"), 2, tmp_path / "step=2.ckpt")
    assert resumed.seen == moved.seen[8:] and resumed.sums == moved.sums[8:]


def test_without_a_trainer_batches_are_complete(module: Callable[..., CaseDataModule]) -> None:
    """Precision and learning rate are tried on batches that no Trainer hands over."""
    asked, usual = (epoch(module(augment_on=where), 0) for where in ("device", "processor"))
    assert all(not batch.draws for batch in asked)
    assert all(torch.equal(one.image, other.image) for one, other in zip(asked, usual, strict=True))


@pytest.mark.gpu
def test_a_gpu_changes_the_images_itself(module: Callable[..., CaseDataModule]) -> None:
    still = AUGMENTED.model_copy(update={"noise": 0.0, "gamma": 0.3, "bias_field": 0.1, "elastic": 1.0})
    asked, usual = (fit(module(augmentation=still, augment_on=where), 1, on="gpu") for where in ("auto", "processor"))
    assert asked.seen == usual.seen and asked.sums == pytest.approx(usual.sums, abs=5e-2)


def test_resuming_in_the_middle_of_another_epoch_is_refused(module: Callable[..., CaseDataModule]) -> None:
    loader = module().train_dataloader()
    walk = iter(loader)
    next(walk)
    state = loader.state_dict()
    other = module(excluded=("C0", "C1")).train_dataloader()
    with pytest.raises(TrainingError, match=r"batch 1 of 6.* 5 batches"):
        other.load_state_dict(state)
    list(walk)
    other.load_state_dict(loader.state_dict())
    assert len(names(list(other))) == 19


def test_refused_cases_are_left_out_and_an_empty_split_is_named(module: Callable[..., CaseDataModule]) -> None:
    assert "C1" not in names(list(module(excluded=("C1",)).train_dataloader()))
    with pytest.raises(TrainingError, match="validation"):
        module(excluded=tuple(f"C{n}" for n in range(21, 26))).val_dataloader()


def test_balanced_sampling_evens_out_the_classes() -> None:
    cases = MANIFEST.of(Split.TRAIN)
    weights = balanced_weights(cases, LESION)
    is_yes = np.array([case.labels.get("lesion") == "yes" for case in cases])
    is_no = np.array([case.labels.get("lesion") == "no" for case in cases])
    assert weights[is_yes].sum() == pytest.approx(weights[is_no].sum())
    order = EpochOrder(len(cases), 0, shuffle=True, weights=weights)
    visits = [visit for number in range(200) for visit in order.visits(number)]
    share = np.mean([is_yes[visit.position] for visit in visits])
    assert share == pytest.approx(0.5 * 20 / 21, abs=0.03)
    for number in range(5):  # repeats are told apart, so that they are augmented differently
        assert len(set(order.visits(number))) == len(cases)


def test_balancing_refuses_what_has_no_classes(module: Callable[..., CaseDataModule]) -> None:
    with pytest.raises(TrainingError, match="multilabel"):
        module(balance="signs")
    with pytest.raises(TrainingError, match="lesion, signs"):
        module(balance="nothing")
    with pytest.raises(TrainingError, match="yes"):
        balanced_weights([case for case in MANIFEST.cases if case.labels.get("lesion") == "no"], LESION)


@pytest.mark.parametrize(("count", "size"), [(30, 8), (33, 32), (5, 8), (8, 8), (17, 4), (1, 4)])
def test_batches_are_even_and_complete(count: int, size: int) -> None:
    batches = list(EvenBatches(EpochSampler(EpochOrder(count, 0, shuffle=True)), size))
    lengths = [len(batch) for batch in batches]
    assert len(batches) == -(-count // size) and max(lengths) <= size and max(lengths) - min(lengths) <= 1
    assert sorted(visit.position for batch in batches for visit in batch) == list(range(count))


@pytest.mark.parametrize(("count", "size", "ranks"), [(31, 4, 2), (20, 4, 2), (23, 3, 3), (33, 1, 4), (3, 1, 2)])
def test_each_step_of_several_ranks_is_that_of_one_with_larger_batches(count: int, size: int, ranks: int) -> None:
    def batches(size: int, rank: int, ranks: int) -> list[list[Visit]]:
        return list(EvenBatches(EpochSampler(EpochOrder(count, 3, shuffle=True)), size, rank, ranks))

    shares = [batches(size, rank, ranks) for rank in range(ranks)]
    whole = batches(size * ranks, 0, 1)
    assert {len(share) for share in shares} == {len(whole)}
    for parts, batch in zip(zip(*shares, strict=True), whole, strict=True):
        assert {visit for part in parts for visit in part} == set(batch)
        lengths = [len(part) for part in parts]
        assert min(lengths) > 0 and max(lengths) - min(lengths) <= 1
        assert sum(lengths) == max(len(batch), ranks)  # none twice, unless a rank would be left without
