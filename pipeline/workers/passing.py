"""Messages from a worker to its parent; large arrays in them are handed over in shared memory, not copied by a pipe.

The worker writes the arrays of a message one after another into a file that has no name (in memory, where the system
has such files), and sends the open file along a socket. The parent maps it: no array is pickled, nothing needs tidying
when either of them dies. Pages are copied only where the parent writes to them.
"""

import array
import errno
import mmap
import os
import pickle
import socket
import struct
import tempfile
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler

SHARED_FROM = 1024**2
"""Bytes of arrays from which on a file is worth its while."""

ALIGNMENT = 64
"""Of each array in the file: what vector instructions like best."""

PLAIN, SHARED = b"P", b"S"
"""First byte of a message: all of it follows; or its arrays come in a file."""


def send(pipe: Connection, message: object) -> None:
    """Send a message that can be pickled.

    Raises
    ------
    Exception
        Whatever pickling it raises; nothing has been sent then.
    """
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    if sum(one.nbytes for one in arrays) >= SHARED_FROM and hasattr(socket, "SCM_RIGHTS"):
        try:
            file = _written(arrays)
        except OSError:  # no room for a file: the pipe needs none
            pass
        else:
            try:
                sizes = struct.pack(f"<I{len(arrays)}Q", len(arrays), *(one.nbytes for one in arrays))
                pipe.send_bytes(SHARED + sizes + head)
                _send_file(pipe, file)
            finally:
                os.close(file)
            return
    pipe.send_bytes(PLAIN + (pickle.dumps(message, protocol=5) if arrays else head))


def receive(pipe: Connection) -> object:
    """Wait for a message of :func:`send`.

    Raises
    ------
    EOFError, OSError
        The worker is gone.
    """
    content = pipe.recv_bytes()
    if content[:1] == PLAIN:
        return ForkingPickler.loads(memoryview(content)[1:])
    (count,) = struct.unpack_from("<I", content, 1)
    sizes = struct.unpack_from(f"<{count}Q", content, 5)
    file = _receive_file(pipe)
    try:
        # Private: an array may be written to, and the file is gone when the last array that lies in it is
        shared = memoryview(mmap.mmap(file, sum(map(_padded, sizes)), access=mmap.ACCESS_COPY))
    finally:
        os.close(file)
    arrays, start = [], 0
    for size in sizes:
        arrays.append(shared[start : start + size])
        start += _padded(size)
    return ForkingPickler.loads(memoryview(content)[5 + 8 * count :], buffers=arrays)


def _written(arrays: Sequence[memoryview]) -> int:
    """File without a name that holds the arrays, each from a multiple of :data:`ALIGNMENT` on."""
    if hasattr(os, "memfd_create"):
        file = os.memfd_create("resdx-arrays", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile(prefix="resdx-arrays-") as unnamed:
            file = os.dup(unnamed.fileno())
    try:
        os.truncate(file, sum(_padded(one.nbytes) for one in arrays))
        start = 0
        for one in arrays:
            done = 0
            while done < one.nbytes:
                done += os.pwrite(file, one[done:], start + done)
            start += _padded(one.nbytes)
    except OSError:
        os.close(file)
        raise
    return file


def _padded(size: int) -> int:
    return -(-max(size, 1) // ALIGNMENT) * ALIGNMENT


def _send_file(pipe: Connection, file: int) -> None:
    with socket.socket(fileno=os.dup(pipe.fileno())) as stream:
        stream.sendmsg([SHARED], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [file]))])


def _receive_file(pipe: Connection) -> int:
    space = socket.CMSG_LEN(array.array("i").itemsize)
    with socket.socket(fileno=os.dup(pipe.fileno())) as stream:
        _, sent, flags, _ = stream.recvmsg(1, space)
    if not sent and flags & socket.MSG_CTRUNC:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if not sent:
        raise EOFError("the worker ended before it handed its arrays over")
    files = array.array("i")
    files.frombytes(sent[0][2][: files.itemsize])
    os.set_inheritable(files[0], False)
    return files[0]
