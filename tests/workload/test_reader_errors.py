"""Every way a trace file can be wrong gives one sentence that names the file, the line and what to do."""

import gzip
from pathlib import Path

import pytest

from simulator.core.errors import InputError
from simulator.workload.readers import read_length_pairs, read_trace

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n"
PLAIN = "arrival_s,prompt_tokens,output_tokens\n0,10,10\n"
MOONCAKE = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]}\n'
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n5,ChatGPT,472,18,490,API log\n"

CASES = {
    # name of the file, content, place, words of the message
    "empty file": ("t.csv", "", "", "empty"),
    "blank file": ("t.csv", " \n\n", "", "empty"),
    "header only": ("t.csv", AZURE.splitlines()[0] + "\n", "", "empty"),
    "azure unsorted": ("t.csv", AZURE + "2023-11-16 18:15:46.6805899,5,5\n", ":3", "earlier than in the row before"),
    "azure bad month": ("t.csv", AZURE + "2023-13-16 18:15:46.6805900,5,5\n", ":3", "TIMESTAMP is '2023-13-16"),
    "azure bad day": ("t.csv", AZURE + "2023-02-30 18:15:46.6805900,5,5\n", ":3", "TIMESTAMP is '2023-02-30"),
    "azure bad hour": ("t.csv", AZURE + "2023-11-16 24:15:46.6805900,5,5\n", ":3", "TIMESTAMP"),
    "azure letters": ("t.csv", AZURE + "2023-11-16 1b:15:46.6805900,5,5\n", ":3", "TIMESTAMP"),
    "azure other width": ("t.csv", AZURE + "yesterday,5,5\n", ":3", "TIMESTAMP is 'yesterday'"),
    "azure far future": ("t.csv", AZURE + "2028-11-16 18:15:46.6805900,5,5\n", ":3", "100 days"),
    "azure short row": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,5\n", ":3", "2 cells where the header has 3"),
    "azure long row": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,5,5,5\n", ":3", "4 cells where the header has 3"),
    # Together the two rows have as many commas as two sound ones.
    "azure uneven rows": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,5\n2023-11-16 18:15:47.6805900,5,5,5\n", ":3",
                          "2 cells"),
    "azure blank line": ("t.csv", AZURE + "\n2023-11-16 18:15:47.6805900,5,5\n", ":3", "blank"),
    "azure zero output": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,5,0\n", ":3", "GeneratedTokens is 0"),
    "azure negative prompt": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,-5,1\n", ":3", "ContextTokens is -5"),
    "azure NaN": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,nan,1\n", ":3", "ContextTokens is 'nan'"),
    "azure text": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,many,1\n", ":3", "ContextTokens is 'many'"),
    "azure missing cell": ("t.csv", AZURE + "2023-11-16 18:15:47.6805900,,1\n", ":3", "ContextTokens is missing"),
    "plain fraction": ("t.csv", PLAIN + "1,1.5,1\n", ":3", "prompt_tokens is '1.5', not a whole number"),
    "plain infinite": ("t.csv", PLAIN + "1,inf,1\n", ":3", "prompt_tokens is 'inf'"),
    "plain arrival NaN": ("t.csv", PLAIN + "nan,1,1\n", ":3", "arrival_s is nan, not a finite time"),
    "plain arrival text": ("t.csv", PLAIN + "soon,1,1\n", ":3", "arrival_s is 'soon', not a number"),
    "plain arrival missing": ("t.csv", PLAIN + ",1,1\n", ":3", "arrival_s is missing"),
    "plain negative arrival": ("t.csv", PLAIN.replace("\n0,", "\n-1,"), ":2", "must not be negative"),
    "plain unsorted": ("t.csv", PLAIN + "2,1,1\n1,1,1\n", ":4", "earlier"),
    "plain too long": ("t.csv", PLAIN + "9e9,1,1\n", ":3", "100 days"),
    "plain no arrival": ("t.csv", "prompt_tokens,output_tokens\n1,1\n", ":1", "no arrival column"),
    "plain no prompt": ("t.csv", "arrival_s,output_tokens\n1,1\n", ":1", "no prompt column"),
    "plain twice": ("t.csv", "arrival_s,output_tokens,output_tokens\n1,1,1\n", ":1", "twice"),
    "plain prefix alone": ("t.csv", "arrival,prompt_tokens,output_tokens,prefix_id\n0,1,1,a\n", ":1", "prefix_tokens"),
    "plain prefix too long": ("t.csv", "arrival,prompt_tokens,output_tokens,prefix_id,prefix_tokens\n0,9,1,a,10\n",
                              ":2", "prefix_tokens is 10"),
    "plain open quote": ("t.csv", PLAIN + '1,"1,1\n', ":3", "malformed"),
    "burst unsorted": ("t.csv", BURST + "6,GPT-4,1,0,1,API log\n4,GPT-4,1,1,2,API log\n", ":4", "earlier"),
    "burst negative": ("t.csv", BURST + "6,GPT-4,1,-1,1,API log\n", ":3", "Response tokens is -1"),
    "burst all failed": ("t.csv", BURST.replace(",18,", ",0,"), "", "no request has a response"),
    "mooncake no json": ("t.jsonl", MOONCAKE + "{oops}\n", ":2", "not JSON"),
    "mooncake list": ("t.jsonl", MOONCAKE + "[1]\n", ":2", "not a JSON object"),
    "mooncake two a line": ("t.jsonl", MOONCAKE + '{"a": 1}, {"b": 2}\n', ":2", "not JSON"),
    "mooncake cut": ("t.jsonl", MOONCAKE + MOONCAKE[:40], ":2", "not JSON"),
    "mooncake unsorted": ("t.jsonl", MOONCAKE.replace("0,", "9,", 1) + MOONCAKE, ":2", "earlier"),
    "mooncake no output": ("t.jsonl", MOONCAKE + '{"timestamp": 1, "input_length": 6}\n', ":2",
                           "output_length is missing"),
    "mooncake text": ("t.jsonl", MOONCAKE.replace("600", '"600"'), ":1", "input_length is '600', not a number"),
    "mooncake true": ("t.jsonl", MOONCAKE.replace("600", "true"), ":1", "input_length is True"),
    "mooncake NaN": ("t.jsonl", MOONCAKE.replace('timestamp": 0', 'timestamp": NaN'), ":1", "timestamp is nan"),
    "mooncake zero": ("t.jsonl", MOONCAKE.replace("600", "0"), ":1", "input_length is 0"),
    "mooncake blocks": ("t.jsonl", MOONCAKE.replace("600", "512"), ":1", "2 hash_ids are too many for 512 tokens"),
    "mooncake id": ("t.jsonl", MOONCAKE.replace("[0, 1]", '[0, "x"]'), ":1", "hash_ids must be whole numbers"),
    "mooncake id huge": ("t.jsonl", MOONCAKE + "\n" + MOONCAKE.replace("[0, 1]", f"[{2**70}]"), ":3",
                         "hash_ids must be"),
    "mooncake ids no list": ("t.jsonl", MOONCAKE.replace("[0, 1]", "7"), ":1", "hash_ids is 7, not a list"),
    "json array": ("t.json", "[" + MOONCAKE + "]", ":1", "JSON array"),
    "not parquet": ("t.parquet", "hello", "", "not a readable Parquet file"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_bad_file_is_refused_with_its_place(tmp_path, case):
    name, content, place, words = CASES[case]
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert caught.value.where == f"{path}{place}"
    assert words in caught.value.message


def test_text_that_is_not_utf8_is_named_by_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(PLAIN.encode() + b"1,1,\xff\n")
    with pytest.raises(InputError, match=r"t\.csv:3: not UTF-8 text: byte 0xff"):
        read_trace(path)


def test_a_gzip_file_cut_short_says_so(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_bytes(gzip.compress(AZURE.encode() * 100)[:-10])
    with pytest.raises(InputError, match=r"t\.csv\.gz: the gzip file ends too early"):
        read_trace(path)


def test_a_damaged_gzip_file_says_so(tmp_path):
    path = tmp_path / "t.csv.gz"
    data = bytearray(gzip.compress(AZURE.encode() * 100))
    data[-5] ^= 255  # its checksum
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="not a sound gzip file"):
        read_trace(path)


def test_a_name_that_promises_gzip_must_hold_it(tmp_path):
    path = tmp_path / "t.csv.gz"
    path.write_text(AZURE)
    with pytest.raises(InputError, match="not a gzip file"):
        read_trace(path)


def test_a_missing_file_suggests_its_neighbour(tmp_path):
    (tmp_path / "conversation.csv").write_text(AZURE)
    with pytest.raises(InputError) as caught:
        read_trace(tmp_path / "conversaton.csv")
    assert caught.value.hint == f"did you mean '{tmp_path / 'conversation.csv'}'?"


def test_a_folder_is_no_trace(tmp_path):
    with pytest.raises(InputError, match="is a folder"):
        read_trace(tmp_path)


def test_a_file_of_lengths_points_to_the_lengths_key(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("input_length,output_length\n3,4\n")
    assert [column.tolist() for column in read_length_pairs(path)] == [[3], [4]]
    with pytest.raises(InputError, match=r"lengths: \{file: \.\.\.\}"):
        read_trace(path)


TRACE = Path(__file__).parents[2] / "../shared/traces/AzureLLMInferenceTrace_conv.csv"


@pytest.mark.skipif(not TRACE.is_file(), reason="the shared traces are not here")
@pytest.mark.parametrize("line", [2, 9_000, 19_367])
def test_a_slip_deep_in_the_real_trace_is_found_by_line(tmp_path, line):
    lines = TRACE.read_bytes().split(b"\n")
    lines[line - 1] = lines[line - 1].replace(b",", b";", 1)
    path = tmp_path / "t.csv"
    path.write_bytes(b"\n".join(lines))
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert caught.value.where == f"{path}:{line}"
