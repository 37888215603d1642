"""How often a sweep's 95 % intervals hold the truth: made-up worlds of few seeds, as docs/sweeps.md tells.

Run from the project's root: python -m tests.benchmarks.intervals
"""

import math

import numpy as np

from simulator.experiment.sweeps.bootstrap import Bootstrap

WORLDS = 3000
KINDS = {
    "normal": (lambda rng, shape: rng.normal(size=shape), 0.0),
    "lognormal": (lambda rng, shape: rng.lognormal(size=shape), math.exp(0.5)),
}


def main():
    print(f"{'seeds':>5}  {'values':<10}  held the truth  plain percentile interval")
    for seeds in (5, 6, 7, 10, 20):
        bootstrap = Bootstrap(seeds)
        for kind, (draw, truth) in KINDS.items():
            held = plain = 0
            for values in draw(np.random.default_rng(1), (WORLDS, seeds)):
                low, high = bootstrap.interval(values)
                held += low <= truth <= high
                low, high = np.quantile(bootstrap.weights @ values, [0.025, 0.975])
                plain += low <= truth <= high
            print(f"{seeds:>5}  {kind:<10}  {held / WORLDS:>14.1%}  {plain / WORLDS:>10.1%}")


if __name__ == "__main__":
    main()
