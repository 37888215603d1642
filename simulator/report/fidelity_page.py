"""The page that says how wrong the simulator is: what the validations found, in Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from simulator.report.error_text import group_name, percent, reasons, stage_name, with_bias
from simulator.report.markdown import table

Verdict = Mapping[str, Any]

_NOT_MODELLED = (
    "An engine's first iterations (compilation, warm-up of kernels): 0.1 to 0.5 s, once; in the Mixtral runs at "
    "constant rates it looks like 3.5 s, and three of their five p99 TTFTs are 73 to 87 % too short.",
    "Machines whose hosts launch kernels at another speed. Without a graph an iteration takes at least `launch_layer` "
    "a layer, fitted by version: to the slowest of a hundred gaps of engines with few requests (0.11: 0.41 ms, with "
    "experts 0.62), and to p99 TTFTs at constant rates, those of prompts not yet in the cache (0.15: 0.86 ms), both on "
    "H100s. MiniMax's TTFTs on H200s with 0.18 alone, with more kernels in a layer, say 1.1 ms.",
    "Which shapes of experts have tuned kernels, by version and GPU: one list of vLLM's files for the H100 holds.",
    "Clock changes within a run: kernels take what they took when they were measured, times a factor of the build.",
    "The benchmark client's own time, but for a fixed gap between an answer and the next request.",
    "What a server does between sockets and engine (tokenizing, streaming), but for a fixed intake time.",
    "Streaming several tokens at once (a stream interval): the first one is taken to be sent when it is made.",
    "Which experts tokens choose: times are those of the routing that was measured, a power law. 16 sequences of chat "
    "reach more of Qwen3-30B's and Qwen3-235B's on up to 4 GPUs, and take 12 to 17 % longer; as many as by chance "
    "would agree, but not with GPQA, gpt-oss or 8 GPUs, which agree with the power law.",
    "Other work on the same GPUs or links.",
    "Clients that give up: in the overloaded runs, whoever had waited 300 s left and the work for it was lost; here "
    "nobody leaves. That is not why queues grow faster than simulated: of the requests that completed, a token took "
    "27, 30 and 37 ms with CodeLlama 34B, Llama 2 70B and Mixtral, where 24, 26 and 24 are simulated. Two leads: "
    "service slows down as the queue grows (CodeLlama: from 3.34 to 3.17 requests/s), and contexts differ (the last "
    "line).",
    "What a sort of some 60 to 127 requests' logits takes, which outgrow the level-2 cache: Qwen3's gaps at 96 "
    "sequences are 7 to 9 % longer than simulated, those at 64 and 128 are not.",
    "Llama 4's layers with experts: they take some 0.1 ms longer than their kernels, whatever the batch.",
    "Which kernels a version picks for experts in fp8 blocks: the tables hold what vLLM takes on Hopper since its "
    "pull request 34260 (Triton, or FlashInfer's with whole experts), and 0.18 needs no `block_layer`. Before, "
    "DeepGEMM or FlashInfer's ran (its issue 34249), nobody measured them here, and what they take more is fitted "
    "(`block_layer`).",
    "MiniMax's router, which multiplies in 32 bit, and why its first token takes 30 ms more on 0.18: that is fitted.",
    "A batch whose contexts differ. Llama 70B FP8 at 1,024/8,192 takes longer the more they do, as if a share of "
    "decode attention waited for the longest context: 0.33, 0.54, 0.79 and 0.9 of it at 3.9, 1.9, 0.97 and 0.48 "
    "sequences x KV heads a multiprocessor. FlashAttention 3's rule for splitting sequences gives 0.26, 0.57, 0.80 "
    "and 0.9 if its blocks start in order. But MiniMax and the saturated H100s, with the same rule, show nothing of "
    "it, so it is not applied.",
)


def fidelity_page(
    *,
    command: str,
    version: str,
    scatter: str | None,
    points: Verdict | None,
    requests: Verdict | None,
    open_loop: Verdict | None,
    saturated: Verdict | None,
    left_out: Verdict | None,
    group_by: Sequence[str],
    saturated_by: Sequence[str],
) -> str:
    """Return the page; each argument that is None stands for data that was not there, and the page says so.

    ``scatter`` is the picture's path from the page, ``left_out`` the JSON that the calibration wrote.
    """
    parts = [
        "# How right the simulator is",
        f"Written by `{command}` (Tokenyard {version}); repeat it to check every figure. Errors are predicted / "
        "measured - 1; MAPE is their mean absolute value, the signed mean is in brackets.",
        _summary(points, requests, open_loop, saturated),
    ]
    if scatter is not None:
        parts.append(
            f"![Predicted against measured]({scatter})\n\nThe grey band is 10 % to either side. Hollow marks are rows "
            "that do not count (see below)."
        )
    parts += [
        _points(points, group_by),
        _requests(requests),
        _open_loop(open_loop),
        _saturated(saturated, saturated_by),
        _left_out(left_out),
        _noise(points),
        _coverage([points, requests, open_loop, saturated]),
        "## What is not modelled\n\n" + "\n".join(f"- {line}" for line in _NOT_MODELLED),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(
    points: Verdict | None, requests: Verdict | None, open_loop: Verdict | None, saturated: Verdict | None
) -> str:
    rows: list[list[Any]] = []
    if points is not None:
        at = points["overall"]
        rows.append(["serving points, mean TPOT", at["tpot_points"], with_bias(at["tpot_mape"], at["tpot_bias"])])
        rows.append(["serving points, mean TTFT", at["ttft_points"], with_bias(at["ttft_mape"], at["ttft_bias"])])
    if requests is not None:
        at = requests["overall"]
        rows.append(["recorded runs, worst mean", at["points"], percent(at["worst_mean_error"])])
        rows.append(["recorded runs, worst p90 or p99", at["points"], percent(at["worst_tail_error"])])
    if open_loop is not None:
        at = open_loop["overall"]
        for name, label in (("e2e_mean", "mean latency"), ("ttft_p50", "median TTFT"), ("ttft_p99", "p99 TTFT")):
            rows.append([f"constant rates, {label}", at["points"], with_bias(at[f"{name}_mape"], at[f"{name}_bias"])])
        rows.append(["overload, growth of the queue", at["overloaded"], percent(at["growth_mape"])])
    if saturated is not None:
        at = saturated["overall"]
        rows.append(["full engines, median ITL", at["points"], with_bias(at["itl_mape"], at["itl_bias"])])
    return table(["what", "points", "MAPE (signed)"], rows) if rows else "No measured data was there."


def _points(verdict: Verdict | None, group_by: Sequence[str]) -> str:
    if verdict is None:
        return ""
    parts = [
        "## Serving points",
        "Closed loops: so many requests in flight, measured mean TPOT and TTFT by GPU, engine, model and lengths. The "
        "client is simulated whole: its opening burst, warm-ups, lengths, and the gap before its next request. TTFTs "
        "of unknown protocol and of queues that grew to the end are *flagged*: their mean signed error is shown, they "
        "count for nothing.",
        _scores(verdict["groups"], "group", lambda row: group_name(row, group_by)),
    ]
    for name, label in (("concurrency", "load"), ("isl", "prompt"), ("osl", "output"), ("parallelism", "GPUs")):
        parts += [f"By {label} ({name}):", _scores(verdict["regions"][name], name, lambda row, key=name: row[key])]
    return "\n\n".join(parts)


def _scores(rows: Sequence[Verdict], first: str, label: Any) -> str:
    return table(
        [first, "points", "TPOT", "TTFT points", "TTFT", "flagged TTFT"],
        [
            [
                label(row),
                row["points"],
                with_bias(row["tpot_mape"], row["tpot_bias"]),
                row["ttft_points"],
                with_bias(row["ttft_mape"], row["ttft_bias"]),
                percent(row["ttft_flagged_bias"], signed=True),
            ]
            for row in rows
        ],
    )


def _requests(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    rows = [
        [run["run"] if metric == "ttft" else "", metric.upper(), f"{run['measured_ms'][metric]['mean']:.1f}"]
        + [percent(error, signed=True) for error in errors.values()]
        for run in verdict["groups"]
        for metric, errors in run["errors"].items()
    ]
    header = ["run", "metric", "measured mean, ms", "mean", "p50", "p90", "p99"]
    text = "Real engines' own records, replayed: every request arrives when it did, as long as it was."
    return f"## Recorded runs\n\n{text}\n\n{table(header, rows)}"


def _open_loop(verdict: Verdict | None) -> str:
    if verdict is None:
        return ""
    names = ("ttft_mean", "ttft_p50", "ttft_p90", "ttft_p99", "tpot_mean", "e2e_mean", "e2e_p99")
    kept_up = [
        [stage_name(stage), f"{stage['request_rate']:g}"]
        + [percent(stage["errors"].get(name), signed=True) for name in names]
        for stage in verdict["groups"]
        if "errors" in stage
    ]
    overloaded = [
        [
            stage_name(stage),
            f"{stage['request_rate']:g}",
            f"{stage['measured_growth']:.3f}",
            f"{stage['predicted_growth']:.3f}",
            percent(stage["growth_error"], signed=True),
        ]
        for stage in verdict["groups"]
        if "growth_error" in stage
    ]
    parts = ["## Constant rates", table(["run", "requests/s", *(name.replace("_", " ") for name in names)], kept_up)]
    if overloaded:
        header = ["overloaded run", "requests/s", "queue grows, measured, 1/s", "simulated", "error"]
        parts.append(table(header, overloaded))
    return "\n\n".join([*parts, _assumptions(verdict)])


def _saturated(verdict: Verdict | None, group_by: Sequence[str]) -> str:
    if verdict is None:
        return ""

    def rows(source: Sequence[Verdict], label: Any) -> list[list[Any]]:
        return [[label(row), row["points"], with_bias(row["itl_mape"], row["itl_bias"])] for row in source]

    groups = table(["group", "points", "median ITL"], rows(verdict["groups"], lambda row: group_name(row, group_by)))
    sizes = verdict["regions"]["max_num_seqs"]
    batches = table(["most sequences", "points", "median ITL"], rows(sizes, lambda row: row["max_num_seqs"]))
    return "\n\n".join(["## Full engines", groups, batches, _assumptions(verdict)])


def _assumptions(verdict: Verdict) -> str:
    return "Assumed:\n\n" + "\n".join(f"- {line}" for line in verdict["assumptions"])


def _left_out(verdict: Verdict | None) -> str:
    text = "## Groups that the constants never saw"
    if verdict is None:
        return f"{text}\n\nNot there: give the calibration's JSON with `--left-out`."
    rows = [
        [
            row["group"],
            " ".join(reversed(row["metric"].upper().split("_"))).replace("P99", "p99"),
            row["figures"],
            with_bias(row["fitted_mape"], row["fitted_bias"]),
            with_bias(row["held_out_mape"], row["held_out_bias"]),
        ]
        for row in verdict["leave_one_out"]
    ]
    header = ["group", "metric", "figures", "fitted with it", "fitted without it"]
    intro = (
        "The engine's constants are fitted without a group, and then predict it. Where constants of another build make "
        "a run at a constant rate overloaded that was not, its first tokens wait for minutes."
    )
    return f"{text}\n\n{intro}\n\n{table(header, rows)}"


def _noise(points: Verdict | None) -> str:
    noise = None if points is None else points["overall"]["replicate_spread"]
    if noise is None:
        return ""
    return (
        f"## Noise floor\n\nRuns of one and the same point differ by {percent(noise)} (median of the recorded "
        "spreads): no model can be expected to do better."
    )


def _coverage(verdicts: Sequence[Verdict | None]) -> str:
    missed = [each for verdict in verdicts if verdict is not None for each in verdict["not_covered"]]
    if not missed:
        return "## Coverage\n\nEvery measured row was simulated."
    rows = [[why, count] for why, count, _ in reasons(missed)]
    return f"## Coverage\n\nNot simulated:\n\n{table(['reason', 'rows'], rows)}"
