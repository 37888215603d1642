"""A reproduction's report fits a terminal and leaves nothing out that its verdict rests on."""

import io

from rich.console import Console

from simulator.report.reproduction_text import print_reproduction

SPEED = {"what": "speed of the whole engine with all its parts", "unit": "req/s", "effect": "policy",
         "role": "required", "paper": 2.0, "ours": {"mean": 1.23456, "sd": 0.1, "values": [1.2, 1.3]},
         "uncalibrated": {"mean": 9.87, "sd": 0.2, "values": [9.8, 9.9]}, "tolerance": "±25%",
         "holds": False}  # fmt: skip
SHOWN = {"what": "a side figure", "unit": "", "effect": None, "role": "shown", "paper": None,
         "ours": {"mean": None, "sd": None, "values": [None]}, "uncalibrated": None, "tolerance": "",
         "holds": None}  # fmt: skip
FOUND = {"system": "Small", "venue": "Nowhere 2024", "claim": "it is fast", "source": "Table 1", "read_in": ["notes"],
         "setup": "one engine", "requests": 2000, "seeds": [0, 1], "horizon": "one hour", "quick": False,
         "calibrated": [{"constant": "prefill time", "value": 0.9, "published": 1, "why": "too slow"}],
         "notes": ["[lengths] drawn"], "rows": [SPEED, SHOWN], "verdict": "not reproduced",
         "why": "outside tolerance: speed"}  # fmt: skip


def printed(width, **changes):
    console = Console(file=io.StringIO(), width=width)
    print_reproduction(FOUND | changes, console)
    return console.file.getvalue()


def test_nothing_is_left_out_at_eighty_columns():
    text = printed(80)
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for part in ("it is fast [Table 1; read in notes that quote the paper]",
                 "2,000 requests, 2 seeds (0 to 1); one hour",
                 "prefill time: 0.9 (uncalibrated 1): too slow", "[lengths] drawn", "1.235 ± 0.1", "9.87 ± 0.2", "±25%",
                 "holds", "NO", "policy", "verdict: not reproduced (outside tolerance: speed)"):  # fmt: skip
        assert part in words


def test_seeds_and_quick_looks_are_said():
    assert "seed 7;" in printed(100, seeds=[7])
    assert "3 seeds (1, 5, 9)" in printed(100, seeds=[1, 5, 9])
    assert "counts for nothing" in printed(100, quick=True)
