"""What a verb hands back to the command line."""

from dataclasses import dataclass

from pipeline.errors import EXIT_OK


@dataclass(frozen=True, slots=True)
class Outcome:
    """Exit status and the closing lines to print (plain text, no patient data)."""

    lines: tuple[str, ...] = ()
    exit_code: int = EXIT_OK
