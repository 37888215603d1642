"""A page's first sentences: what the runs say, before any table."""

import math
from collections.abc import Sequence

from simulator.report.goodput import TARGET, capacity, groups_by_rate, has_rates
from simulator.report.headline import milliseconds, number
from simulator.report.results import Run

_MOST_NAMES = 4


def slo_text(runs: Sequence[Run]) -> str:
    """Return the limits that the runs have, in one sentence."""
    limits = sorted({f"{key.upper().replace('E2EL', 'end to end')} {milliseconds(value)}"
                     for run in runs for key, value in run.slo_ms.items()})  # fmt: skip
    return f"SLO: {', '.join(limits)}." if limits else "No SLO was set, so goodput is not defined."


def answer(runs: Sequence[Run]) -> str:
    """Return the result in a sentence or two: who kept the SLO, up to which load; without an SLO, who is fastest."""
    judged = [run for run in runs if run.metric("slo_attainment") >= 0]
    if not judged:
        return _fastest(runs)
    if len(judged) == 1:
        return f"{_share(judged[0])} of the requests stayed within the SLO."
    if has_rates(judged):
        return _under_load(judged)
    return _kept(judged)


def _fastest(runs: Sequence[Run]) -> str:
    timed = [run for run in runs if run.metric("p99_e2el_ms") >= 0]
    if not timed:
        return "No request completed."
    best = min(timed, key=lambda run: run.metric("p99_e2el_ms"))
    took = f"99 % of its requests took at most {milliseconds(best.metric('p99_e2el_ms'))}"
    return f"{took[0].upper()}{took[1:]}." if len(runs) == 1 else f'Fastest: "{best.name}", {took}.'


def _kept(runs: Sequence[Run]) -> str:
    kept = [run for run in runs if run.metric("slo_attainment") >= TARGET]
    text = f"{len(kept)} of {len(runs)} runs kept at least {TARGET:.0%} of their requests within the SLO"
    named = 0 < len(kept) <= _MOST_NAMES
    if named:
        text += ": " + ", ".join(map(_with_share, kept))
    best = max(runs, key=lambda run: run.metric("slo_attainment"))
    worst = min(runs, key=lambda run: run.metric("slo_attainment"))
    if not named:
        text += f". Best: {_with_share(best)}"
    if worst.metric("slo_attainment") < best.metric("slo_attainment") and worst not in (kept if named else ()):
        text += f". Worst: {_with_share(worst)}"
    return f"{text}."


def _under_load(runs: Sequence[Run]) -> str:
    groups = groups_by_rate(runs)
    reach = {group: capacity(members) for group, members in groups.items()}
    highest = max((rate for rate in reach.values() if not math.isnan(rate)), default=math.nan)
    if math.isnan(highest):
        text = f"No variant kept {TARGET:.0%} of its requests within the SLO even at the lowest load."
    else:
        served = [group for group, rate in reach.items() if rate == highest]
        names = ", ".join(f'"{group}"' for group in served) if len(served) <= _MOST_NAMES else f"{len(served)} variants"
        if len(served) == len(groups) > 1:
            names = f"all {len(groups)} variants"
        text = f"{TARGET:.0%} stayed within the SLO up to {number(highest)} requests/s, with {names}."
    if len(groups) > 1:
        last = max(run.offered_rate for run in runs if not math.isnan(run.offered_rate))
        best = max((run for run in runs if run.offered_rate == last), key=lambda run: run.metric("request_goodput"))
        goodput = number(best.metric("request_goodput"))
        text += f' At {number(last)} requests/s, "{best.group}" has the highest goodput: {goodput} requests/s.'
    return text


def _with_share(run: Run) -> str:
    return f'"{run.name}" ({_share(run)})'


def _share(run: Run) -> str:
    share = run.metric("slo_attainment") * 100
    # One late request of ten thousand must not be rounded away to "all of them".
    return f"{min(share, 99.99):.2f} %" if 99.95 <= share < 100 else f"{number(share)} %"
