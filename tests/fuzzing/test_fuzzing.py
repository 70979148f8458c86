"""Damaged scans end no process, take no more than their share, and are never read wrong."""

import os

import pytest
from fuzzing.__main__ import body
from fuzzing.campaign import Verdicts, run
from fuzzing.mutants import mutant
from fuzzing.seeds import make_seeds

IN_THE_SUITE = 1000
TEN_THOUSAND = 10_000


def check(verdicts: Verdicts) -> None:
    print(body(verdicts))
    assert not verdicts.failures, "\n".join(verdicts.failures)
    assert verdicts.parsed >= verdicts.mutants / 2, "the mutants do not get past the header"
    undecided = sum(count for who, count in verdicts.confirmed.items() if who.startswith("not judged"))
    assert undecided <= verdicts.mutants / 200


def test_mutants_are_refused_or_read_as_independent_readers_read_them() -> None:
    check(run(range(IN_THE_SUITE), thorough=False))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_ten_thousand_mutants() -> None:
    check(run(range(TEN_THOUSAND), os.cpu_count() or 1))


def test_a_number_is_always_the_same_mutant() -> None:
    once, again = mutant(12), mutant(12)
    assert once == again
    assert once.changed
    assert len({mutant(number).what for number in range(50)}) > 40


def test_the_seeds_are_sound_and_hold_every_transfer_syntax() -> None:
    assert len({seed.name for seed in make_seeds()}) == len(make_seeds()) == 37
