"""A reproduction's set-up small enough for tests, with a cost that can be reckoned by hand."""

from pathlib import Path

FIT = {
    "kind": "affine",
    "source": "made up",
    "prefill": {"base": "10ms", "token": "0.1ms"},
    "decode": [{"base": "10ms", "context": "0ms"}],
}
WORLD = {"scheduler": "vllm", "cost": "plain", "max_model_len": 4096}
SETUP = {
    "system": "Small",
    "paper": "Nobody et al.",
    "venue": "Nowhere 2024",
    "claim": "it works",
    "source": "Table 1",
    "read_in": ["ours"],
    "setup": "one engine",
    "horizon": "all requests",
    "requests": 20,
    "seeds": 3,
    "quick": {"requests": 5, "seeds": 2},
    "costs": {"plain": FIT},
    "worlds": {"only": WORLD},
    "targets": {
        "speed": {"what": "speed", "paper": 10.0, "within": "10%"},
        "order": {"what": "order", "at_least": 1.0, "role": "shape"},
        "extra": {"what": "extra", "role": "shown"},
    },
}


def square(value, log=None):
    """Return a square, and note on disk that it was worked out; 13 is interrupted."""
    if log is not None:
        with Path(log).open("a") as file:
            file.write(f"{value}\n")
    if value == 13:
        raise KeyboardInterrupt
    return value * value
