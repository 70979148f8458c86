"""Files that ask for more memory or depth than any image has: refused, in a process that may not have that memory."""

import json
import resource
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from phantoms.dicom_enhanced import make_frames, write_enhanced
from phantoms.dicom_objects import write_encapsulated
from phantoms.dicom_series import Identity, make_voxels, write_series
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from pipeline.domain.codes import Code

HEADROOM = 256 * 1024**2
"""Bytes that a reading process may take on top of what it holds after its imports."""

SCRIPT = f"""
import json, resource, sys
from pathlib import Path
from pipeline.errors import RejectedInput
from pipeline.readers.discovery import discover
from pipeline.readers.options import ReadOptions
from pipeline.readers.reading import read

def outcomes(root):
    found = {{}}
    discovery = discover(Path(root), ReadOptions())
    for refusal in discovery.refusals:
        found[refusal.file.path.stem] = str(refusal.code)
    for series in discovery.series:
        try:
            read(series, ReadOptions())
            code = "READ"
        except RejectedInput as error:
            code = str(error.code)
        found.update({{file.path.stem: code for file in series.files}})
    return found

warm = outcomes(sys.argv[1])
assert set(warm.values()) == {{"READ"}}, warm
def status(name):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(name))

size = status("VmSize:")
resource.setrlimit(resource.RLIMIT_AS, (size + {HEADROOM},) * 2)
found = {{}}
for folder in sorted(Path(sys.argv[2]).iterdir()):
    try:
        found.update(outcomes(folder))
    except Exception as error:
        found[folder.name] = f"raised {{type(error).__name__}}"
print(json.dumps([found, status("VmHWM:")]))  # ru_maxrss would hold the peak of the process that forked this one
"""

Make = Callable[[Path], None]


def write_edited(path: Path, edit: Callable[[Dataset], None]) -> None:
    """One CT slice, changed."""
    (written,) = write_series(path.parent, make_voxels((6, 5, 1)), edit=lambda dataset, k: edit(dataset))
    written.rename(path)


def huge_header(path: Path) -> None:
    def huge(dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = 60000

    write_edited(path, huge)


def huge_frames(path: Path) -> None:
    def many(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 2**31 - 1

    write_edited(path, many)


def huge_enhanced(path: Path) -> None:
    def many(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 2**31 - 1

    write_enhanced(path, make_frames(make_voxels((6, 5, 3))), edit=many)


def huge_stream(path: Path) -> None:
    """The header claims as much as the codestream."""
    path.parent.mkdir()
    write_encapsulated(path, make_voxels((6, 5, 1))[:, :, 0], codestream(60000), JPEG2000Lossless, "MONOCHROME2")
    content = path.read_bytes()
    for element in (0x0010, 0x0011):
        start = content.index(struct.pack("<HH2sH", 0x0028, element, b"US", 2)) + 8
        content = content[:start] + struct.pack("<H", 60000) + content[start + 2 :]
    path.write_bytes(content)


def lying_stream(path: Path) -> None:
    """The header is small, the codestream claims 60000 x 60000."""
    path.parent.mkdir()
    write_encapsulated(path, make_voxels((6, 5, 1))[:, :, 0], codestream(60000), JPEG2000Lossless, "MONOCHROME2")


def codestream(side: int) -> bytes:
    """SOC, SIZ, COD, QCD and an empty tile of a 16-bit JPEG 2000 image."""
    size = struct.pack(">HHHIIIIIIIIHBBB", 0xFF51, 41, 0, side, side, 0, 0, side, side, 0, 0, 1, 15, 1, 1)
    coding = struct.pack(">HHBBHBBBBBB", 0xFF52, 12, 0, 0, 1, 0, 0, 4, 4, 0, 1)
    quantisation = struct.pack(">HHBB", 0xFF5C, 4, 0x40, 0x88)
    tile = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14, 0, 1) + b"\xff\x93"
    return b"\xff\x4f" + size + coding + quantisation + tile + b"\xff\xd9"


def lying_jpegls(path: Path) -> None:
    """The header is small, the JPEG-LS frame claims 60000 x 60000."""
    frame = struct.pack(">HHBHHBBBB", 0xFFF7, 11, 16, 60000, 60000, 1, 1, 0x11, 0)
    scan = struct.pack(">HHBBBBBB", 0xFFDA, 8, 1, 1, 0, 0, 0, 0)
    stream = b"\xff\xd8" + frame + scan + bytes(64) + b"\xff\xd9"
    path.parent.mkdir()
    write_encapsulated(path, make_voxels((6, 5, 1))[:, :, 0], stream, JPEGLSLossless, "MONOCHROME2")


def deflate_bomb(path: Path) -> None:
    """8 GiB of zeros in a private element before the pixels, in about 8 MiB."""
    paths = write_series(path.parent, make_voxels((6, 5, 1)), transfer_syntax=DeflatedExplicitVRLittleEndian)
    content = paths[0].read_bytes()
    paths[0].unlink()
    start = 132 + 12 + struct.unpack("<I", content[140:144])[0]
    dataset = zlib.decompress(content[start:], -zlib.MAX_WBITS)
    chunk = 64 * 1024**2
    blocks = 62
    compressor = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    opening = struct.pack("<HH2sHI", 0x0029, 0x1001, b"OB", 0, chunk * blocks)
    head = compressor.compress(dataset[: dataset.index(b"\x28\x00\x02\x00US")] + opening)
    head += compressor.flush(zlib.Z_FULL_FLUSH)
    block = compressor.compress(bytes(chunk)) + compressor.flush(zlib.Z_FULL_FLUSH)
    path.write_bytes(content[:start] + head + block * blocks + compressor.flush())


def nested(depth: int, *, explicit_length: bool) -> bytes:
    """Content sequences, one in the other, implicit VR."""
    item, end_item, end_sequence = (struct.pack("<HHI", 0xFFFE, tag, 0) for tag in (0xE000, 0xE00D, 0xE0DD))
    opening = struct.pack("<HHI", 0x0040, 0xA730, 0xFFFFFFFF)
    item = item[:4] + b"\xff\xff\xff\xff"
    if not explicit_length:
        return (opening + item) * depth + (end_item + end_sequence) * depth
    content = b""
    for _ in range(depth):
        content = struct.pack("<HHIHHI", 0x0040, 0xA730, len(content) + 8, 0xFFFE, 0xE000, len(content)) + content
    return content


def nest(path: Path, *, explicit_length: bool) -> None:
    (written,) = write_series(path.parent, make_voxels((6, 5, 1)), transfer_syntax=ImplicitVRLittleEndian)
    content = written.read_bytes()
    written.unlink()
    pixels = content.index(struct.pack("<HH", 0x7FE0, 0x0010))
    path.write_bytes(content[:pixels] + nested(5000, explicit_length=explicit_length) + content[pixels:])


def nested_undefined(path: Path) -> None:
    nest(path, explicit_length=False)


def nested_defined(path: Path) -> None:
    nest(path, explicit_length=True)


def huge_element(path: Path) -> None:
    """An element that claims 4 GB of a file of 1 kB."""
    write_edited(path, lambda dataset: dataset.add_new(0x00291001, "OB", bytes(16)))
    content = path.read_bytes()
    start = content.index(struct.pack("<HH2sH", 0x0029, 0x1001, b"OB", 0)) + 8
    path.write_bytes(content[:start] + struct.pack("<I", 0xFFFFFFF0) + content[start + 4 :])


ANY_DAMAGE = {Code.CORRUPT, Code.BAD_PIXELS, Code.TOO_LARGE, Code.TRUNCATED}
BOMBS: dict[str, tuple[Make, set[Code]]] = {
    "huge_header": (huge_header, {Code.TOO_LARGE}),
    "huge_frames": (huge_frames, {Code.TOO_LARGE, Code.NOT_SUPPORTED}),
    "huge_enhanced": (huge_enhanced, {Code.TOO_LARGE, Code.BAD_HEADER}),
    "huge_stream": (huge_stream, {Code.TOO_LARGE}),
    "lying_stream": (lying_stream, ANY_DAMAGE),
    "lying_jpegls": (lying_jpegls, ANY_DAMAGE),
    "deflate_bomb": (deflate_bomb, {Code.TOO_LARGE}),
    "nested_undefined": (nested_undefined, {Code.TOO_DEEP}),
    "nested_defined": (nested_defined, {Code.TOO_DEEP}),
    "huge_element": (huge_element, {Code.TRUNCATED, Code.BAD_HEADER, Code.CORRUPT}),
}


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Code of each bomb, or READ; all in one process under the cap."""
    root = tmp_path_factory.mktemp("bombs")
    warm, bombs = root / "warm", root / "bombs"
    write_series(warm, make_voxels((6, 5, 3)))
    for number, syntax in enumerate((JPEG2000Lossless, JPEGLSLossless), start=2):
        identity = Identity.numbered(number)
        write_series(warm / syntax, make_voxels((33, 35, 3)), transfer_syntax=syntax, identity=identity)
    for name, (make, _) in BOMBS.items():
        make(bombs / name / f"{name}.dcm")
    return run(warm, bombs)


def run(warm: Path, bombs: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(warm), str(bombs)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found, peak = json.loads(done.stdout.splitlines()[-1])
    assert peak < 1.5 * 1024**3
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_without_its_memory(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] in BOMBS[name][1]


def test_the_cap_is_real() -> None:
    """Where the limit is not enforced, the other tests would prove nothing."""
    code = f"import resource; resource.setrlimit(resource.RLIMIT_AS, ({HEADROOM},) * 2); bytearray({2 * HEADROOM})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MemoryError" in done.stderr
    assert resource.RLIMIT_AS
