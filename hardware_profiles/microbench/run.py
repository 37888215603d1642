"""Build the harness and run it on this machine's GPU; then the torch twin, if a Python here has PyTorch.

Needs no package. Exits 0 when done, 1 without a GPU or when measuring failed, 2 for bad options or a wrong file.

Example: python run.py --out my_gpu.jsonl --quick
"""

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).resolve().parent
_MAJOR, _MINOR = 75, 76  # CUdevice_attribute: compute capability
# What PyTorch's kernels do and the harness's own do worse; without nvcc the twin measures everything.
_TWIN_SUITES = {"prefill", "decode"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do all of it and return the exit code; progress and problems go to stderr."""
    options = _options(arguments)
    capability = _compute_capability()
    if isinstance(capability, str):
        return _fail(f"no GPU can be used: {capability}")
    python, libraries = torch_python()
    nvcc = _nvcc()
    build = options.build or Path(tempfile.gettempdir()) / f"tokenyard-microbench-{os.getuid()}"
    built = _built(nvcc, build, capability) if nvcc else None
    if built is None:
        if python is None:
            return _fail("neither nvcc (CUDA 12.8 or newer) nor a Python with PyTorch is here; one of them is needed")
        _say(f"{'the build failed' if nvcc else 'no nvcc here'}: measuring everything through PyTorch")
        return _run([python, str(_HERE / "torch_twin"), *_words(options, options.only)])
    words = _words(options, options.only)
    words += ["--cublaslt", options.cublaslt] if options.cublaslt else []
    words += ["--allow-busy"] if options.allow_busy else []
    status = _run([str(built), *words], libraries)
    if status != 0:
        return status
    wanted = _TWIN_SUITES & set(options.only.split(",")) if options.only else _TWIN_SUITES
    if python is None:
        _say("no Python with PyTorch here: attention by the harness's own kernels only, which are no FlashAttention")
    elif wanted:
        return _run([python, str(_HERE / "torch_twin"), *_words(options, ",".join(sorted(wanted)))])
    return 0


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="run.py", description="Measure this machine's GPU.")
    parser.add_argument("--out", type=Path, required=True, help="results, a JSON object a line; goes on where it ended")
    parser.add_argument("--quick", action="store_true", help="fewer points and samples: a minute or two")
    parser.add_argument("--only", default="", help="measurements, separated by commas")
    parser.add_argument("--build", type=Path, help="where to build; default: a folder among the temporary ones")
    parser.add_argument("--cublaslt", help="where libcublasLt.so is; default: looked for")
    parser.add_argument("--allow-busy", action="store_true", help="measure although others use the GPU")
    return parser.parse_args(arguments)


def _words(options: argparse.Namespace, only: str) -> list[str]:
    words = ["--out", str(options.out), *(["--quick"] if options.quick else [])]
    return [*words, "--only", only] if only else words


def _compute_capability() -> str | int:
    """Return the first GPU's, as 90 for 9.0, or why there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed"
    if (status := driver.cuInit(0)) != 0:
        return f"the driver does not start (CUDA error {status})"
    device, major, minor = (ctypes.c_int() for _ in range(3))
    if driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return "the driver shows none"
    driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return 10 * major.value + minor.value


def _nvcc() -> str | None:
    named = os.environ.get("NVCC") or shutil.which("nvcc")
    usual = Path("/usr/local/cuda/bin/nvcc")
    return named or (str(usual) if usual.exists() else None)


def _built(nvcc: str, build: Path, capability: int) -> Path | None:
    """Return the harness built for this GPU, None where that failed (its errors are on stderr by then)."""
    if shutil.which("make") is None:
        _say("make is not installed")
        return None
    build.mkdir(parents=True, exist_ok=True)
    jobs = f"-j{os.cpu_count() or 1}"
    words = ["make", "-s", jobs, "-C", str(_HERE), f"BUILD={build.resolve()}", f"ARCHS={capability}", f"NVCC={nvcc}"]
    _say(f"building for sm_{capability} in {build}")
    return build.resolve() / "microbench" if _run(words) == 0 else None


def torch_python() -> tuple[str | None, list[str]]:
    """Return a Python that has PyTorch, and the folders of the libraries that came with it (cuBLASLt, NCCL).

    The one that TORCH_PYTHON names comes first, then this one, then those on the PATH.
    """
    named = os.environ.get("TORCH_PYTHON")
    for python in dict.fromkeys((named, sys.executable, shutil.which("python3"), shutil.which("python"))):
        if python:
            look = "import importlib.util as u, sys; s = u.find_spec('torch'); print(s.origin if s else '')"
            answer = subprocess.run([python, "-c", look], capture_output=True, text=True, check=False).stdout.strip()
            if answer:
                packages = Path(answer).parent.parent
                return python, [str(path) for path in (*packages.glob("nvidia/*/lib"), packages / "torch/lib")]
    return None, []


def _run(words: list[str], libraries: Sequence[str] = ()) -> int:
    """Run a program with our stderr for its output, and return its exit code, 130 when interrupted.

    It finds shared libraries in these folders where the environment names no others.
    """
    known = [folder for folder in os.environ.get("LD_LIBRARY_PATH", "").split(":") if folder]
    environment = os.environ | {"LD_LIBRARY_PATH": ":".join([*known, *libraries])}
    try:
        return subprocess.run(words, stdout=sys.stderr, check=False, env=environment).returncode
    except KeyboardInterrupt:
        return 130
    except OSError as error:
        return _fail(f"{words[0]}: {error.strerror}")


def _fail(problem: str) -> int:
    _say(problem)
    return 1


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
