"""What the settings of every method share."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from pipeline.config import Part
from pipeline.explanations.stage_map import Method

if TYPE_CHECKING:
    from pipeline.explanations.explainer import Explainer
    from pipeline.package.package import ModelPackage


class MethodSettings(Part):
    """Base of the ``Config`` of every part in this folder. Imports no torch."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="Where the network runs; auto takes CUDA where there is one."
    )

    @abstractmethod
    def build(self, package: "ModelPackage") -> "Explainer":
        """Load the weights of `package`, ready to explain; see :meth:`explainer`."""

    def explainer(self, package: "ModelPackage", method: Method) -> "Explainer":
        """Load the weights of `package` and let `method` look at their maps.

        Raises
        ------
        ConfigError
            If CUDA is asked for and there is none.
        """
        from pipeline.explanations.mean_map import MeanMap

        return MeanMap(method, package.build_classifiers(), package.tta_flips, device=self.device)
