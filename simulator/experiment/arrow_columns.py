"""Arrow columns from numpy ones, by buffer.

``pyarrow.array`` would import pandas where that is installed: 0.15 CPU seconds of every short run.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def numbers(values: NDArray[Any], unknown: NDArray[np.bool_] | None = None) -> Any:
    """Return a column of an int or float array; entries where ``unknown`` is true are null."""
    import pyarrow as pa

    validity = None
    if unknown is not None and unknown.any():
        validity = pa.py_buffer(np.packbits(~unknown, bitorder="little").tobytes())
    values = np.ascontiguousarray(values)
    kinds = {"i4": pa.int32(), "i8": pa.int64(), "f8": pa.float64()}
    return pa.Array.from_buffers(kinds[values.dtype.str[1:]], len(values), [validity, pa.py_buffer(values)])


def labels(codes: NDArray[Any], names: Sequence[str]) -> Any:
    """Return a dictionary-encoded text column: ``names[code]``, null where a code is negative."""
    import pyarrow as pa

    indices = numbers(np.maximum(codes, 0).astype(np.int32), codes < 0)
    return pa.DictionaryArray.from_arrays(indices, _texts(names))


def _texts(texts: Sequence[str]) -> Any:
    import pyarrow as pa

    encoded = [text.encode() for text in texts]
    ends = np.cumsum([0, *(len(text) for text in encoded)]).astype(np.int32)
    return pa.Array.from_buffers(pa.string(), len(texts), [None, pa.py_buffer(ends), pa.py_buffer(b"".join(encoded))])
