"""Print the table of oddities by verdict, as Markdown: ``python tests/print_oddities.py``.

It writes and reads every phantom, and ends with the count of those that somebody could read and that we read right.
"""

import sys
import tempfile
from collections import Counter
from pathlib import Path

from oddities.row import Verdict, verdict_of
from oddities.table import ROWS


def main() -> int:
    """Print; the exit status is 1 where a verdict is another one than it must be."""
    tally: Counter[str] = Counter()
    print("| # | what is odd | must be | what became of it | tests that go deeper |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for number, row in enumerate(ROWS, start=1):
            told = []
            for index, phantom in enumerate(row.phantoms):
                verdict = verdict_of(phantom, Path(scratch) / f"{number}.{index}")
                told.append(f"{phantom.name}: {verdict}")
                if isinstance(verdict, Verdict):
                    kind = "right" if verdict.right else "refused, and must be"
                    tally["refused, and could be read" if phantom.is_volume and not verdict.right else kind] += 1
                else:
                    tally["WRONG"] += 1
            proofs = ", ".join(proof.split("::")[1] for proof in row.proofs)
            print(f"| {number} | {row.name} | {row.must} | {'; '.join(told) or 'by the tests'} | {proofs} |")
    readable = tally["right"] + tally["refused, and could be read"] + tally["WRONG"]
    print(f"\n{sum(tally.values())} phantoms: " + ", ".join(f"{count} {kind}" for kind, count in tally.most_common()))
    print(f"{tally['right']} of {readable} that can be read are read right ({tally['right'] / readable:.1%}).")
    return int(bool(tally["WRONG"]))


if __name__ == "__main__":
    sys.exit(main())
