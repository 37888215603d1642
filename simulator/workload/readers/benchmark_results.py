"""Result files of benchmark clients: which tool wrote one is told by its content."""

from pathlib import Path

from simulator.core.errors import InputError
from simulator.workload.readers.aiperf import RECORDS, SUMMARY, is_aiperf, read_aiperf
from simulator.workload.readers.benchmark_run import BenchmarkRun, read_object
from simulator.workload.readers.guidellm import read_guidellm
from simulator.workload.readers.records import parse_records
from simulator.workload.readers.source import open_text
from simulator.workload.readers.vllm_bench import KEYS, read_vllm_bench


def read_benchmark(path: Path) -> list[BenchmarkRun]:
    """Return the runs in a result file of ``vllm bench serve``, AIPerf or GuideLLM; InputError for anything else."""
    if path.name == SUMMARY:
        path = path.with_name(RECORDS)
    if path.suffix == ".jsonl":
        records, _ = parse_records(path, open_text(path))
        if is_aiperf(records[0]):
            return read_aiperf(path, records)
    else:
        result = read_object(path)
        if isinstance(result.get("benchmarks"), list):
            return read_guidellm(path, result)
        if all(key in result for key in KEYS):
            return read_vllm_bench(path, result)
    raise InputError("not a result file of vllm bench serve, AIPerf or GuideLLM", where=str(path),
                     hint=f"give the --save-result JSON, {RECORDS}, or benchmarks.json")  # fmt: skip
