"""Mutants by number: the same number is the same mutant on every machine."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from random import Random

from fuzzing.any_bytes import ANY
from fuzzing.dicom_bytes import DicomBytes
from fuzzing.dicom_mutations import MUTATIONS
from fuzzing.other_mutations import NIFTI, PICTURE
from fuzzing.seeds import Seed, make_seeds

SEED = 20240131
"""Of all random choices."""

BLIND_SHARE = 0.12
"""Part of the mutations that know nothing of the format."""

DICOM_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Mutant:
    """A damaged scan.

    Attributes
    ----------
    what : str
        Seed and mutations, for a reader of the report.
    files : mapping of str to bytes
        All files of the scan.
    sound : mapping of str to bytes
        The files before they were damaged.
    """

    number: int
    what: str
    files: Mapping[str, bytes]
    sound: Mapping[str, bytes]

    @property
    def changed(self) -> frozenset[str]:
        """Names of the files that differ from the sound ones."""
        return frozenset(name for name, content in self.files.items() if content != self.sound[name])


def mutant(number: int) -> Mutant:
    """Make a mutant."""
    random = Random(f"{SEED}/{number}")
    seed = _seed(random)
    files = dict(seed.files)
    names = list(files)
    targets = names if random.random() < 0.4 else [random.choice(names)]
    choices = f"{SEED}/{number}/choices"
    what = []
    for name in targets:  # each file of a scan is damaged in the same way, as a bad exporter does
        random = Random(choices)
        what = []
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            mutation, files[name] = _mutated(seed.kind, files[name], random)
            what.append(mutation)
    return Mutant(number, f"{seed.name}: {', '.join(what)} ({len(targets)} of {len(names)} files)", files, seed.files)


def _mutated(kind: str, content: bytes, random: Random) -> tuple[str, bytes]:
    blind = random.random() < BLIND_SHARE
    if kind == "dicom" and not blind:
        mutation = random.choice(MUTATIONS)
        try:
            parsed = DicomBytes.parse(content)
            if parsed.elements():
                return mutation.__name__, mutation(parsed, random).join()
        except (ValueError, IndexError, ArithmeticError, OSError, struct.error, zlib.error):
            pass  # an earlier mutation has left no structure to work on
    elif not blind:
        other = random.choice(NIFTI if kind == "nifti" else PICTURE)
        try:
            return other.__name__, other(content, random)
        except (ValueError, IndexError, EOFError, OSError, struct.error, zlib.error):
            pass
    anyhow = random.choice(ANY)
    return anyhow.__name__, anyhow(content, random)


def _seed(random: Random) -> Seed:
    dicom, others = _seeds()
    return random.choice(dicom if random.random() < DICOM_SHARE else others)


@cache
def _seeds() -> tuple[tuple[Seed, ...], tuple[Seed, ...]]:
    seeds = make_seeds()
    return tuple(s for s in seeds if s.kind == "dicom"), tuple(s for s in seeds if s.kind != "dicom")
