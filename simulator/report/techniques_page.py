"""docs/techniques.md: what each technique changes, where it helps and where it stops helping."""

from collections.abc import Iterator
from textwrap import fill
from typing import Any

from simulator.report.markdown import table

_INTRO = """\
# Techniques

Which techniques of the survey of efficient inference (Zhou et al., arXiv 2404.14294) would help a cluster, and when
does one stop helping? Each is a line of an experiment's YAML, on the same engine, cost model and traces as everything
else:

```yaml
techniques: [{name: quantization, format: w4a16}, prompt_compression]   # applied in this order
compare:
  as it is: {}
  both: {techniques: [quantization, kv_quantization]}                   # a variant has its own list
```

They act on all instances, whatever their hardware and role. What cannot be is refused with a reason: two formats of
the weights, grouped queries on latent attention, weights quantized that the checkpoint has quantized. `tokenyard
techniques` lists them with their parameters; a new one is a file in `simulator/experiment/techniques/`, as its
`base.py` says.

This page is written by

    tokenyard techniques report --out docs/techniques.md --trace mooncake_conversation.jsonl

from runs of `experiments/techniques/*.yaml`: gains are the baseline's latency over the variant's, so above 1 is faster.
What those on the engine do to an iteration's time, and what they leave out, is in
[docs/cost.md](cost.md#what-techniques-make-of-it). Nothing here says what a technique does to answers.

Kernels that were measured are the GPU profile's; the others are rooflines, and `coverage` in a run's `summary.json`
says which is which. So a few per cent between a variant with measured kernels (fp8) and one without (w8a8, w4a16,
int8) mean nothing. On GPUs where a model's layers were measured whole, a technique that changes the model's shape
leaves those measurements, and a baseline of single kernels is fairer.
"""


def techniques_page(study: dict[str, Any]) -> str:
    """Return the page, from what ``study`` gives."""
    parts = [_INTRO, *_known(study), *_steps(study), *_sections(study), *_ffn(study), *_hits(study)]
    return "\n\n".join(_wrapped(part.strip("\n")) for part in parts) + "\n"


def _wrapped(text: str) -> str:
    """Return Markdown with long lines of prose broken; tables and headings stay."""
    lines = []
    for line in text.split("\n"):
        if line.startswith(("|", "#", " ")):
            lines.append(line)
        else:
            indent = "  " if line.startswith("- ") else ""
            wrapped = fill(line, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
            lines.append(wrapped)
    return "\n".join(lines)


def _times(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _first(study: dict[str, Any], technique: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
    """Return the experiment of a technique's name and its first variant that has just that technique."""
    for experiment in study["experiments"]:
        if experiment["name"] == technique:
            for variant in experiment["variants"]:
                if variant["techniques"] == [technique]:
                    return experiment, variant
    return None


def _known(study: dict[str, Any]) -> Iterator[str]:
    yield "## The crossovers the field knows\n"
    ridge = study["ridge"]
    sheet = "" if ridge["datasheet"] is None else f" (datasheet: {ridge['datasheet']:.0f})"
    lines = [
        f"- **The ridge.** On the {ridge['gpu']} a 16-bit matrix product's FLOPs take as long as its weights' bytes at "
        f"{ridge['measured']:.0f} tokens, by the rates it was measured to reach{sheet}."
    ]
    batches = study["batches"]
    for technique, what in (
        ("speculative", "Speculative decoding verifies batch x (draft tokens + 1) tokens"),
        ("quantization", "W4A16 spares bytes and no FLOPs"),
        ("mixture_of_experts", "A mixture of experts reads only the experts that some token of the batch chose"),
    ):
        if (found := _first(study, technique)) is None or found[1]["steps"] is None:
            continue
        steps = found[1]["steps"]
        decodes = steps["short"]
        gains = ", ".join(
            f"{_times(gain)} at {batch}" for batch, gain in zip(batches, decodes["by_batch"], strict=True)
        )
        none = "" if decodes["none_from"] is None else f"; no gain from batch {decodes['none_from']} on"
        over = f"over {study['contexts']['short']} tokens of context"
        prompts = f"Prompts: {_times(steps['prompt'])}."
        lines.append(f"- **{what}.** {found[1]['name']}, {over}: decodes {gains}{none}. {prompts}")
    for technique, what in (
        ("prompt_compression", "Compression helps the first token more than those after it"),
        ("skeleton_of_thought", "Skeleton-of-Thought buys latency with batch"),
    ):
        if (found := _first(study, technique)) is None:
            continue
        experiment, variant = found
        loads = "; ".join(
            f"{load}: TTFT {_times(gain[0])}, TPOT {_times(gain[1])}, e2e {_times(gain[2])}"
            for load, gain in zip(experiment["loads"], variant["gains"], strict=True)
        )
        lines.append(f"- **{what}.** {variant['name']}, by load: {loads}.")
    yield "\n".join(lines) + "\n"


def _steps(study: dict[str, Any]) -> Iterator[str]:
    contexts = study["contexts"]
    yield (
        "## Iterations\n\n"
        f"How many times faster a prompt of {study['prompt']} tokens is, and an iteration in which so many requests"
        " decode (with speculation: the time of a token). Over short contexts weights decide, over long ones attention"
        " does. Large batches may not fit memory; that is not asked here. Techniques that change what prompts are have"
        " no line. The last column says from which batch on nothing is gained any more.\n"
    )
    for which, context in contexts.items():
        yield f"Over {context} tokens of context:\n"
        columns = ["variant", "prompt", *(f"batch {batch}" for batch in study["batches"]), "no gain from"]
        yield table(columns, list(_step_rows(study, which)))


def _step_rows(study: dict[str, Any], which: str) -> Iterator[list[str]]:
    for experiment in study["experiments"]:
        shown = []
        for variant in experiment["variants"]:
            if (steps := variant["steps"]) is None:
                continue
            gains, none_from = steps[which]["by_batch"], steps[which]["none_from"]
            cells = [_times(steps["prompt"]), *map(_times, gains), "" if none_from is None else str(none_from)]
            # Variants that differ in memory or routing alone have iterations alike.
            if cells not in shown and any(abs(gain - 1) >= 5e-4 for gain in (steps["prompt"], *gains)):
                shown.append(cells)
                yield [f"{experiment['name']}: {variant['name']}", *cells]


def _sections(study: dict[str, Any]) -> Iterator[str]:
    yield "## Techniques one by one\n\nCells: median TTFT / median TPOT / mean end-to-end latency, times faster.\n"
    experiments = {experiment["name"]: experiment for experiment in study["experiments"]}
    for technique in study["techniques"]:
        yield _described(technique)
        if (experiment := experiments.pop(technique["name"], None)) is not None:
            yield _compared(experiment)
    if experiments:
        yield "## Several at once\n"
        for experiment in experiments.values():
            yield f"### {experiment['name']}\n"
            yield _compared(experiment)


def _described(technique: dict[str, Any]) -> str:
    parameters = ", ".join(
        f"`{each['name']}`" if each["required"] else f"`{each['name']}: {_default(each['default'])}`"
        for each in technique["parameters"]
    )
    return (
        f"### {technique['name']}\n\n"
        f"{technique['summary'].replace('``', '`')}\n\n"
        f"- Level: {technique['level']}. Parameters: {parameters or 'none'}.\n"
        f"- Changes: {technique['changes']}.\n"
        f"- Source: {technique['source']}.\n"
    )


def _default(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _compared(experiment: dict[str, Any]) -> str:
    base, *others = experiment["variants"]
    rows = [
        [
            f"{base['name']}, ms",
            *(" / ".join(_milliseconds(each[key]) for key in ("ttft", "tpot", "e2e")) for each in base["measured"]),
        ]
    ]
    for variant in others:
        cells = []
        for gain, measured in zip(variant["gains"], variant["measured"], strict=True):
            failed = f" ({measured['failed']} failed)" if measured["failed"] else ""
            cells.append(" / ".join(map(_times, gain)) + failed)
        rows.append([variant["name"], *cells])
    return f"{experiment['title']}\n\n" + table(["variant", *experiment["loads"]], rows)


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


def _ffn(study: dict[str, Any]) -> Iterator[str]:
    yield (
        "## How much of a model its MLPs are\n\n"
        "The survey gives the feed-forward networks 63.01 % of LLaMA 7B's parameters and 71.69 % of 70B's. Its figures"
        " come out to the last digit if the vocabulary's matrix is counted three times, where the model has two, and if"
        " 70B had as many heads of keys and values as of queries, where it has an eighth. Counted as the models are:\n"
    )
    columns = ["model", "survey", "as the survey seems to count", "of all weights", "of the layers' weights"]
    shares = study["ffn_shares"]
    cells = [[s["model"], *(f"{s[key]:.2%}" for key in ("published", "repeats", "weights", "layers"))] for s in shares]
    yield table(columns, cells)


def _hits(study: dict[str, Any]) -> Iterator[str]:
    if study["hit_rates"] is None:
        return
    yield (
        "## Prefix caching on the Mooncake conversation trace\n\n"
        "Prompt tokens found in the cache by its size: in a simulated instance (`prefix_caching` with so many KV"
        " blocks, the trace at a tenth of its rate), and by replaying the trace's block hashes alone, longest unused"
        " given away first.\n"
    )
    rows = [
        [f"{rate['blocks']:,} x 512 tokens", f"{rate['simulated']:.1%}", f"{rate['replayed']:.1%}"]
        for rate in study["hit_rates"]
    ]
    yield table(["cache", "simulated", "replayed"], rows)
