"""What became of each tensor of a file of weights and of the network they went into."""

from collections import Counter
from collections.abc import Sequence

from pipeline.domain.frozen import Frozen

SHOWN = 4
"""Names of each kind that a message shows."""


class OtherShape(Frozen):
    """A tensor that stands in both and cannot be made to fit."""

    name: str
    file: tuple[int, ...]
    ours: tuple[int, ...]


class PretrainedReport(Frozen):
    """Which tensors were taken, changed and left out. Names are ours where a tensor has one here, else the file's.

    Attributes
    ----------
    file : str
        Name of the file, without its path, or of the model in a package.
    digest : str
        sha256 of the weights.
    layout : str
        Whose names the tensors have.
    axes : str
        Order of the kernels' axes in the file.
    taken : tuple of str
        As they stand in the file.
    adapted : dict of str to str
        Taken after a change, which is told.
    missing : tuple of str
        Of the network, not in the file: they keep their random weights.
    unexpected : tuple of str
        In the file, not in the network.
    other_shape : tuple of OtherShape
        Neither taken nor counted as one of the two above.
    fresh : tuple of str
        Of the network, random as was asked for, or of a part that such files do not have.
    left_out : tuple of str
        Of the file: heads of other findings, fresh stages, other networks.
    heads : tuple of str
        Findings whose heads were taken; all others are fresh.
    causes : tuple of str
        Why tensors are missing, unexpected or of another shape.
    remedies : tuple of str
        What to set, for each cause.
    notes : tuple of str
        What the names and shapes cannot show.
    """

    file: str
    digest: str
    layout: str
    axes: str
    taken: tuple[str, ...]
    adapted: dict[str, str]
    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    other_shape: tuple[OtherShape, ...] = ()
    fresh: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    heads: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    remedies: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def matched(self) -> int:
        """Tensors that were taken, changed or not."""
        return len(self.taken) + len(self.adapted)

    @property
    def filled(self) -> float:
        """Share of the network's tensors that the file fills."""
        return _share(self.matched, len(self.missing) + len(self.other_shape))

    @property
    def used(self) -> float:
        """Share of the file's tensors that the network takes."""
        return _share(self.matched, len(self.unexpected) + len(self.other_shape))

    @property
    def summary(self) -> str:
        """One line for the log and the model card."""
        ways = Counter(self.adapted.values())
        adapted = f", {len(self.adapted)} of them adapted ({'; '.join(f'{ways[way]} {way}' for way in ways)})"
        heads = f"taken for {', '.join(self.heads)}" if self.heads else "fresh"
        parts = [
            f"Began with the weights of {self.file} (sha256 {self.digest[:16]}, named as {self.layout} does, axes "
            f"{self.axes}): {self.matched} tensors taken{adapted if ways else ''}, {len(self.missing)} missing, "
            f"{len(self.unexpected)} unexpected, {len(self.other_shape)} of another shape, {len(self.fresh)} fresh; "
            f"heads {heads}.",
            *self.notes,
        ]
        return " ".join(parts)

    def refusal(self, least: float) -> str:
        """Why the match is too poor, naming the first tensors of each kind and the likely causes."""
        total = self.matched + len(self.missing) + len(self.other_shape)
        shapes = [f"{entry.name} {list(entry.file)} into {list(entry.ours)}" for entry in self.other_shape]
        lines = [
            f"{self.file} does not fit the network: it fills {self.matched} of {total} tensors ({self.filled:.1%}), "
            f"and {self.used:.1%} of its own are taken; pretrained.least_matched is {least:.1%}.",
            *_named("missing", self.missing),
            *_named("unexpected", self.unexpected),
            *_named("of another shape", shapes),
            *(f"  - likely cause: {cause}." for cause in self.causes),
        ]
        return "\n".join(lines)


def _share(matched: int, others: int) -> float:
    return matched / (matched + others) if matched + others else 0.0


def _named(kind: str, names: Sequence[str]) -> list[str]:
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"  - {kind}: {', '.join(names[:SHOWN])}{more}"]
