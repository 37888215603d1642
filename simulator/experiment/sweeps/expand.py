"""From the ``sweep:`` section to its points: which value each key path takes in each of them."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from simulator.core.errors import InputError
from simulator.core.streams import Streams
from simulator.core.yaml_source import KeyPath, Place, YamlSource
from simulator.experiment.sweeps.section import RandomPoints, Range, Sweep

MOST_POINTS = 20_000
_DIGITS = 4  # significant digits of a drawn number: more would only make names long
_TRIES = 100  # draws a wanted point, before there are too few different ones


class Assignment(NamedTuple):
    """A key path, the value it takes in a point, and where that is written."""

    key: str
    value: YamlSource
    where: str


Point = tuple[Assignment, ...]


def points_of(sweep: Sweep, source: YamlSource, seed: int) -> list[Point]:
    """Return the points of a sweep in order, one without assignments if nothing is swept.

    ``source`` is the experiment's tree (its ``sweep`` is read for places), ``seed`` the experiment's own. InputError
    where a key is swept twice, or the points are too many.
    """
    parts = [
        part
        for part in (_grid(sweep, source), _list(sweep, source), _random(sweep, source), _seeds(sweep, source, seed))
        if part
    ]
    _check(parts, source)
    return [tuple(one for some in chosen for one in some) for chosen in product(*parts)]


def labels_of(points: Sequence[Point]) -> dict[str, str]:
    """Return each swept path's last key, or the whole path where two end alike."""
    paths = list(dict.fromkeys(one.key for point in points for one in point))
    last = [path.rpartition(".")[2] for path in paths]
    return {path: end if last.count(end) == 1 else path for path, end in zip(paths, last, strict=True)}


def name_of(point: Point, labels: Mapping[str, str]) -> str:
    """Return a point as the names of its runs show it: ``rate=2/s count=4``."""
    return " ".join(f"{labels[one.key]}={_short(one.value.value)}" for one in point)


def _short(value: Any) -> str:
    if isinstance(value, dict) and isinstance(value.get("name"), str):
        return str(value["name"])
    return Path(value).stem if isinstance(value, str) and value.startswith("/") else str(value)


def _check(parts: list[list[Point]], source: YamlSource) -> None:
    swept: set[str] = set()
    for part in parts:
        keys = {one.key: one.where for point in part for one in point}
        for key in sorted(swept & set(keys)):
            raise InputError(f"'{key}' is swept twice", where=keys[key], hint="sweep each key in one way")
        swept |= set(keys)
    if (count := math.prod(map(len, parts))) > MOST_POINTS:
        raise InputError(f"{count} points are too many; the most is {MOST_POINTS}", where=source.where_key(("sweep",)))


def _grid(sweep: Sweep, source: YamlSource) -> list[Point]:
    columns = []
    for key, values in sweep.grid.items():
        at: KeyPath = ("sweep", key) if ("sweep", key) in source.places else ("sweep", "grid", key)
        where = source.where_key(at)
        columns.append([Assignment(key, source.part((*at, index)), where) for index in range(len(values))])
    return list(product(*columns)) if columns else []


def _list(sweep: Sweep, source: YamlSource) -> list[Point]:
    def assigned(index: int, key: str) -> Assignment:
        at = ("sweep", "list", index, key)
        return Assignment(key, source.part(at), source.where_key(at))

    return [tuple(assigned(index, key) for key in point) for index, point in enumerate(sweep.list)]


def _seeds(sweep: Sweep, source: YamlSource, seed: int) -> list[Point]:
    if sweep.seeds is None:
        return []
    seeds = range(seed, seed + sweep.seeds) if isinstance(sweep.seeds, int) else sweep.seeds
    where = source.where_key(("sweep", "seeds"))
    return [(Assignment("seed", _made(number, where), where),) for number in seeds]


def _random(sweep: Sweep, source: YamlSource) -> list[Point]:
    if sweep.random is None:
        return []
    where = source.where_key(("sweep", "random"))
    found: dict[str, Point] = {}
    for values in _draws(sweep.random):
        if len(found) == sweep.random.points:
            break
        places = {key: source.where_key(("sweep", "random", "draw", key)) for key in values}
        found.setdefault(
            repr(values),
            tuple(Assignment(key, _made(value, places[key]), places[key]) for key, value in values.items()),
        )
    if len(found) < sweep.random.points:
        hint = f"ask for {len(found)} points, or sweep a grid"
        raise InputError(f"there are only {len(found)} different points to draw", where=where, hint=hint)
    return list(found.values())


def _draws(random: RandomPoints) -> Iterator[dict[str, Any]]:
    streams = Streams(random.seed)
    generators = {key: streams.get(f"sweep {key}") for key in random.draw}
    for _ in range(_TRIES * random.points):
        yield {key: _draw(generators[key], draw) for key, draw in random.draw.items()}


def _draw(rng: np.random.Generator, draw: Range | list[Any]) -> Any:
    if not isinstance(draw, Range):
        return draw[int(rng.integers(len(draw)))]
    low, high, unit = draw.ends()
    whole = isinstance(low, int) and isinstance(high, int)
    if whole and not draw.log:
        return int(rng.integers(int(low), int(high), endpoint=True))
    share = rng.random()
    value = low * (high / low) ** share if draw.log else low + (high - low) * share
    if whole:
        return min(max(round(value), int(low)), int(high))
    value = float(f"{value:.{_DIGITS}g}")
    return f"{value:g}{unit}" if unit else value


def _made(value: Any, where: str) -> YamlSource:
    """Return a value that stands nowhere in the file, with the place that asked for it."""
    places: dict[KeyPath, Place] = {(): Place(where, where)}

    def visit(part: Any, at: KeyPath) -> None:
        places[at] = Place(where, where)
        inner = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for key, item in inner:
            visit(item, (*at, key))

    visit(value, ())
    return YamlSource(value, places)
