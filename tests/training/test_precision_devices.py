"""What a device is said to compute fast, by what PyTorch or the system answers about it."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from pipeline import machine
from pipeline.training.precision import devices
from pipeline.training.precision.devices import fast_precisions, float32_products

CUDA = torch.device("cuda", 1)

Answer = Callable[[tuple[int, int], bool], None]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Answer:
    """Sets what PyTorch says of a GPU; only one without emulation counts as bfloat16."""

    def answer(capability: tuple[int, int], bfloat16: bool) -> None:
        def capability_of(device: torch.device) -> tuple[int, int]:
            assert device == CUDA, "another device was asked"
            return capability

        def supported(including_emulation: bool = True) -> bool:
            return bfloat16 or including_emulation

        monkeypatch.setattr(torch.cuda, "get_device_capability", capability_of)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)

    return answer


@pytest.mark.parametrize(
    ("capability", "bfloat16", "expected"),
    [
        ((7, 0), False, ("16-mixed",)),  # Volta
        ((7, 5), False, ("16-mixed",)),  # Turing
        ((8, 0), True, ("tf32", "bf16-mixed")),  # Ampere
        ((9, 0), True, ("tf32", "bf16-mixed")),  # Hopper
        ((12, 0), True, ("tf32", "bf16-mixed")),
    ],
)
def test_gpus_by_their_capability(
    gpu: Answer, capability: tuple[int, int], bfloat16: bool, expected: tuple[str, ...]
) -> None:
    gpu(capability, bfloat16)
    assert fast_precisions(CUDA) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("flags : fpu avx512f avx512_bf16 sse", ("bf16-mixed",)),
        ("flags : fpu amx_bf16 amx_tile", ("bf16-mixed",)),
        ("flags : fpu avx2 avx512f", ()),
        ("Features : fp asimd bf16", ("bf16-mixed",)),
        ("Features : fp asimd", ()),
    ],
)
def test_processors_by_their_flags(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: str, expected: tuple[str, ...]
) -> None:
    info = tmp_path / "cpuinfo"
    info.write_text(flags)
    monkeypatch.setattr(machine, "PROCESSOR", info)
    assert fast_precisions(torch.device("cpu")) == expected
    info.unlink()  # as on macOS
    assert fast_precisions(torch.device("cpu")) == ()


def test_other_devices_have_none_that_is_known() -> None:
    assert fast_precisions(torch.device("mps")) == ()


@pytest.fixture
def rounding() -> Iterator[Callable[[], tuple[str, bool]]]:
    """Reads how float32 is multiplied, which is as before when the test is over."""
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's own default
    yield lambda: (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32)
    torch.set_float32_matmul_precision(before[0])
    torch.backends.cudnn.allow_tf32 = before[1]


@pytest.mark.parametrize(
    ("precision", "inside"),
    [("tf32", ("high", True)), ("32", ("highest", False)), ("bf16-mixed", ("highest", False))],
)
def test_products_round_in_tf32_alone_and_only_for_a_while(
    rounding: Callable[[], tuple[str, bool]], precision: devices.Precision, inside: tuple[str, bool]
) -> None:
    before = rounding()
    with pytest.raises(KeyError), float32_products(precision, CUDA):
        assert rounding() == inside
        raise KeyError
    assert rounding() == before
    with float32_products(precision, torch.device("cpu")):
        assert rounding() == before
