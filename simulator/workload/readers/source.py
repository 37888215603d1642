"""The bytes of a trace file, unpacked, or an error that says what is wrong with the file."""

import gzip
import zlib
from difflib import get_close_matches
from pathlib import Path

from simulator.core.errors import InputError

_GZIP_MAGIC = b"\x1f\x8b"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def open_bytes(path: Path) -> bytes:
    """Return a file's content, gunzipped if it is gzip."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except IsADirectoryError:
        raise InputError(f"'{path}' is a folder, not a trace file") from None
    except OSError as error:
        raise InputError(f"can't read '{path}': {error.strerror}") from None
    if data.startswith(_GZIP_MAGIC):
        try:
            data = gzip.decompress(data)
        except EOFError:
            raise InputError("the gzip file ends too early: it was cut short", where=str(path),
                             hint="download or copy it again") from None  # fmt: skip
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"not a sound gzip file: {error}", where=str(path)) from None
    elif path.suffix == ".gz":
        raise InputError("named .gz, but not a gzip file", where=str(path), hint="rename it or pack it again")
    return data


def open_text(path: Path) -> bytes:
    """Return a text file's content as UTF-8 bytes with a checked encoding and no byte order mark."""
    data = open_bytes(path).removeprefix(_BYTE_ORDER_MARK)
    if not data.isascii():
        try:
            data.decode()
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise InputError(f"not UTF-8 text: byte 0x{data[error.start]:02x} can't be decoded", where=f"{path}:{line}",
                             hint="save the file as UTF-8") from None  # fmt: skip
    if not data.strip():
        raise empty(path)
    return data


def empty(path: Path) -> InputError:
    """Return the error for a trace without a request."""
    return InputError("the trace is empty: it has no requests", where=str(path))


def _missing(path: Path) -> InputError:
    try:
        names = [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return InputError(f"no such trace file: '{path}'", hint=f"the folder '{path.parent}' doesn't exist either")
    near = get_close_matches(path.name, names, n=1, cutoff=0.6)
    hint = f"did you mean '{path.parent / near[0]}'?" if near else f"'{path.parent}' has no file of a similar name"
    return InputError(f"no such trace file: '{path}'", hint=hint)
