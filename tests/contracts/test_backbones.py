"""What every backbone must do, run on whatever is in the folder."""

import subprocess
import sys

import pytest
import torch

from pipeline.backbones.settings import BackboneSettings
from pipeline.config import parts
from pipeline.errors import ConfigError

PARTS: list[tuple[str, type[BackboneSettings]]] = list(parts("pipeline.backbones"))
CONFIGS = [pytest.param(config, id=name) for name, config in PARTS]
NETWORKS = [pytest.param(config, ndim, id=f"{name}-{ndim}") for name, config in PARTS for ndim in config.dimensions]
SPACES = {2: (20, 17), 3: (12, 9, 10)}


def images(ndim: int, channels: int, count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn((count, channels, *SPACES[ndim]), generator=generator)


def narrow(config: type[BackboneSettings], ndim: int) -> BackboneSettings:
    small = {"width": 8} if "width" in config.model_fields else {}
    return config(**small).resolved(10, SPACES[ndim], None)


@pytest.mark.parametrize(("config", "ndim"), NETWORKS)
class TestBackbone:
    def test_shapes(self, config: type[BackboneSettings], ndim: int) -> None:
        backbone = narrow(config, ndim).build(ndim, 2).eval()
        x = images(ndim, 2)
        maps = backbone.forward_features(x)
        assert maps.shape[:2] == (4, backbone.features)
        assert maps.ndim == ndim + 2
        features = backbone(x)
        assert features.shape == (4, backbone.features)
        torch.testing.assert_close(features, backbone.pool(maps))
        ones = backbone.pool(torch.ones_like(maps))
        torch.testing.assert_close(ones, torch.ones_like(ones))  # a mean, however weighted
        stages = backbone.forward_stages(x)
        assert set(stages) <= set(backbone.named_stages())
        assert torch.equal(list(stages.values())[-1], maps)

    def test_stages_hold_every_parameter_once(self, config: type[BackboneSettings], ndim: int) -> None:
        backbone = narrow(config, ndim).build(ndim, 1)
        held = [id(parameter) for stage in backbone.named_stages().values() for parameter in stage.parameters()]
        assert sorted(held) == sorted(id(parameter) for parameter in backbone.parameters())

    def test_every_parameter_learns(self, config: type[BackboneSettings], ndim: int) -> None:
        torch.manual_seed(0)
        backbone = narrow(config, ndim).build(ndim, 1)
        with torch.no_grad():
            for parameter in backbone.parameters():
                if not parameter.any():
                    parameter.normal_(std=0.1)  # what starts at zero by design hides the gradients behind it
        x = images(ndim, 1).requires_grad_()
        backbone(x).square().sum().backward()
        assert x.grad is not None and x.grad.isfinite().all() and x.grad.any()
        for name, parameter in backbone.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name

    def test_evaluation_is_deterministic_and_case_by_case(self, config: type[BackboneSettings], ndim: int) -> None:
        torch.manual_seed(0)
        backbone = narrow(config, ndim).build(ndim, 1)
        backbone(images(ndim, 1))  # moves running statistics away from their start
        backbone.eval()
        x = images(ndim, 1)
        with torch.no_grad():
            first, again = backbone(x), backbone(x)
            alone = torch.cat([backbone(row[None]) for row in x])
        assert torch.equal(first, again)
        torch.testing.assert_close(first, alone, rtol=1e-4, atol=1e-5)

    def test_same_seed_same_weights(self, config: type[BackboneSettings], ndim: int) -> None:
        states = []
        for _ in range(2):
            torch.manual_seed(11)
            states.append(narrow(config, ndim).build(ndim, 1).state_dict())
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("config", CONFIGS)
def test_resolved_settings_build_the_same_network_again(config: type[BackboneSettings]) -> None:
    once = narrow(config, 3)
    assert once.resolved(50, (500, 500, 500), (1.0, 1.0, 5.0)) == once
    again = config.model_validate_json(once.model_dump_json())
    assert again == once
    torch.manual_seed(1)
    first = {name: tensor.shape for name, tensor in once.build(3, 1).state_dict().items()}
    assert first == {name: tensor.shape for name, tensor in again.build(3, 1).state_dict().items()}


@pytest.mark.parametrize("config", CONFIGS)
def test_other_numbers_of_axes_are_refused(config: type[BackboneSettings]) -> None:
    for ndim in {2, 3} - set(config.dimensions):
        with pytest.raises(ConfigError, match="the plan has"):
            narrow(config, ndim)
        with pytest.raises(ConfigError, match="the plan has"):
            config().build(ndim, 1)


@pytest.mark.parametrize("module", [config.__module__ for _, config in parts("pipeline.backbones")])
def test_settings_import_no_torch(module: str) -> None:
    code = f"import sys; import {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
