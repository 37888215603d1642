"""Every format gives the same requests, to the picosecond, and big files read fast."""

import gzip
import json
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.workload.readers import read_trace

TRACES = Path(__file__).parents[2] / "../shared/traces"
needs_traces = pytest.mark.skipif(not TRACES.is_dir(), reason="the shared traces are not here")

AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 23:59:59.9000001,374,44\r\n"
    "2023-11-17 00:00:00.4000003,2,1\r\n"
    "2023-11-17 00:00:00.4000003,14050,1000"
)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_azure_2023_has_exact_times_over_midnight_and_no_final_line_end(tmp_path):
    workload = read_trace(write(tmp_path, "conv.csv", AZURE_2023))
    assert workload.arrival_ps.tolist() == [0, 500_000_200_000, 500_000_200_000]
    assert workload.prompt_tokens.tolist() == [374, 2, 14050]
    assert workload.output_tokens.tolist() == [44, 1, 1000]
    assert workload.name == "conv"


def test_azure_2024_mixes_fractions_and_time_zones(tmp_path):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\n"
        "2024-05-10 00:00:01+00:00,2399,6\n"
        "2024-05-10 02:00:01.500000+02:00,76,15\n"
    )
    workload = read_trace(write(tmp_path, "week.csv", text))
    assert workload.arrival_ps.tolist() == [0, 990_070_000_000, 1_490_070_000_000]


@given(st.lists(st.tuples(st.integers(0, 10**12), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1))
def test_azure_reads_back_what_was_written(tmp_path_factory, rows):
    rows.sort()
    start = np.datetime64("2023-12-31T23:00:00")
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for ticks, prompt, output in rows:  # a tick is 100 ns: seven decimals
        moment = str(start + np.timedelta64(ticks // 10**7, "s")).replace("T", " ")
        lines.append(f"{moment}.{ticks % 10**7:07d},{prompt},{output}")
    workload = read_trace(write(tmp_path_factory.mktemp("azure"), "t.csv", "\n".join(lines)))
    assert workload.arrival_ps.tolist() == [(ticks - rows[0][0]) * 10**5 for ticks, _, _ in rows]
    assert workload.prompt_tokens.tolist() == [prompt for _, prompt, _ in rows]
    assert workload.output_tokens.tolist() == [output for _, _, output in rows]


def test_gzip_is_read_like_the_plain_file(tmp_path):
    path = tmp_path / "conv.csv.gz"
    path.write_bytes(gzip.compress(AZURE_2023.encode()))
    workload = read_trace(path)
    assert workload.name == "conv"
    assert workload.prompt_tokens.tolist() == [374, 2, 14050]


@pytest.mark.parametrize("session", [True, False])
def test_burstgpt_goes_by_names_and_counts_failed_requests(tmp_path, session):
    extra = ("Session ID,Elapsed time,", "7,1.5,", ",2.0,", "7,1.0,") if session else ("", "", "", "")
    text = (
        f"Timestamp,{extra[0]}Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        f"5,{extra[1]}ChatGPT,472,18,490,Conversation log\n"
        f"6,{extra[2]}GPT-4,1087,0,1087,API log\n"
        f"45.5,{extra[3]}ChatGPT,417,276,693,Conversation log\n"
    )
    workload = read_trace(write(tmp_path, "b.csv", text))
    assert workload.arrival_ps.tolist() == [0, 40_500_000_000_000]
    assert workload.output_tokens.tolist() == [18, 276]
    assert "2 requests, 1 failed ones" in workload.source
    assert (workload.session.tolist() if session else workload.session) == ([0, 0] if session else None)


@pytest.mark.parametrize(
    ("arrival", "prompt", "output", "unit"),
    [("arrival_s", "prompt_tokens", "output_tokens", 1), ("Timestamp", "input_length", "output_length", 1),
     ("arrived_at", "num_prefill_tokens", "num_decode_tokens", 1),
     ("arrival ms", "Input-Tokens", "completion_tokens", 1e3)],
)  # fmt: skip
def test_plain_tables_agree_whatever_the_names_and_the_format(tmp_path, arrival, prompt, output, unit):
    import pandas as pd

    frame = pd.DataFrame({arrival: [1.5 * unit, 2.0 * unit], prompt: [10, 20], output: [3, 4], "user": ["ann", "bob"],
                          "priority": [0, -1], "session_id": ["x", "x"], "Model": ["small", "large"]})  # fmt: skip
    frame.to_csv(tmp_path / "t.csv", index=False)
    frame.to_parquet(tmp_path / "t.parquet")
    frame.to_json(tmp_path / "t.jsonl", orient="records", lines=True)
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        workload = read_trace(tmp_path / name)
        assert workload.arrival_ps.tolist() == [0, 500_000_000_000], name
        assert workload.prompt_tokens.tolist() == [10, 20]
        assert workload.output_tokens.tolist() == [3, 4]
        assert [workload.clients[i] for i in workload.client] == ["ann", "bob"]
        assert workload.priority.tolist() == [0, -1]
        assert workload.session.tolist() == [0, 0]
        assert [workload.models[i] for i in workload.model] == ["small", "large"]


def test_a_quoted_csv_and_blank_cells_are_read(tmp_path):
    text = '"arrival","prompt_tokens","output_tokens","client"\n"0"," 12 ",1,"a,b"\n1,+3,2.0,\n\n'
    workload = read_trace(write(tmp_path, "t.csv", text))
    assert workload.prompt_tokens.tolist() == [12, 3]
    assert workload.output_tokens.tolist() == [1, 2]
    assert workload.clients == ("a b", "")


def test_prefix_columns_share_the_beginning_of_equal_ids(tmp_path):
    text = "arrival,prompt_tokens,output_tokens,prefix_id,prefix_tokens\n0,100,1,sys,64\n1,50,1,,0\n2,70,1,sys,64\n"
    prefix = read_trace(write(tmp_path, "t.csv", text)).prefix
    assert prefix.offsets.tolist() == [0, 1, 1, 2]
    assert prefix.ids[0] == prefix.ids[1]
    assert prefix.end_tokens.tolist() == [64, 64]


def test_mooncake_ids_name_blocks_of_512_tokens(tmp_path):
    rows = [{"timestamp": 3000, "input_length": 1100, "output_length": 5, "hash_ids": [0, 1, 2]},
            {"timestamp": 3000.5, "input_length": 512, "output_length": 9, "hash_ids": [0]}]  # fmt: skip
    workload = read_trace(write(tmp_path, "m.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n"))
    assert workload.arrival_ps.tolist() == [0, 500_000_000]
    assert workload.prefix.offsets.tolist() == [0, 3, 4]
    assert workload.prefix.ids.tolist() == [0, 1, 2, 0]
    assert workload.prefix.end_tokens.tolist() == [512, 1024, 1100, 512]


@needs_traces
@pytest.mark.parametrize(
    ("name", "requests", "last_ps", "prompt", "output"),
    [("AzureLLMInferenceTrace_conv.csv", 19366, 3_501_721_937_000_000, 22_361_870, 4_088_665),
     ("AzureLLMInferenceTrace_code.csv", 8819, 3_435_948_056_000_000, 18_059_974, 245_896),
     ("mooncake_conversation.jsonl", 12031, 3_536_999_000_000_000, 144_793_823, 4_122_048),
     ("arena_27_clients.csv", 1500, 600_000_000_000_000, 204_398, 384_297)],
)  # fmt: skip
def test_public_traces_read_whole(name, requests, last_ps, prompt, output):
    workload = read_trace(TRACES / name)
    assert len(workload) == requests
    assert workload.arrival_ps[0] == 0
    assert workload.arrival_ps[-1] == last_ps
    assert workload.prompt_tokens.sum() == prompt
    assert workload.output_tokens.sum() == output


@needs_traces
def test_the_azure_trace_reads_in_40_ms_of_cpu():
    def once() -> float:
        start = time.process_time()
        read_trace(TRACES / "AzureLLMInferenceTrace_conv.csv")
        return time.process_time() - start

    assert min(once() for _ in range(5)) < 0.040
