"""Damage that knows nothing of a format."""

from random import Random


def flip_bits(content: bytes, random: Random) -> bytes:
    """Flip one to four bits."""
    changed = bytearray(content)
    for _ in range(random.randint(1, 4)):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def flip_late_bits(content: bytes, random: Random) -> bytes:
    """Flip bits in the second half, where pixels lie."""
    half = len(content) // 2
    return content[:half] + flip_bits(content[half:], random)


def truncate(content: bytes, random: Random) -> bytes:
    """Cut the end off: anywhere, or a few bytes."""
    missing = random.choice((1, 2, random.randint(1, 64), random.randrange(1, len(content))))
    return content[: max(1, len(content) - missing)]


def splice(content: bytes, random: Random) -> bytes:
    """Copy, move in, or take out a run of bytes."""
    start, at = random.randrange(len(content)), random.randrange(len(content))
    run = content[start : start + random.choice((1, 2, 8, 64))]
    kind = random.randrange(3)
    if kind == 0:
        return content[:at] + run + content[at + len(run) :]
    return content[:at] + run + content[at:] if kind == 1 else content[:start] + content[start + len(run) :] or b"\0"


def fill(content: bytes, random: Random) -> bytes:
    """Overwrite a run with one value, as a bad block of a disk does."""
    at, size = random.randrange(len(content)), random.choice((4, 16, 512))
    run = bytes([random.choice((0, 255))]) * min(size, len(content) - at)
    return content[:at] + run + content[at + len(run) :]


def append(content: bytes, random: Random) -> bytes:
    """Add what does not belong to the file."""
    return content + random.choice((b"\0", b"\0\0", content[:64], random.randbytes(32)))


ANY = (flip_bits, flip_bits, flip_late_bits, flip_late_bits, truncate, splice, fill, append)
