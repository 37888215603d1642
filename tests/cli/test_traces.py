"""Traces are described, fitted and converted from the command line."""

import json

import pytest

from simulator.cli.main import main

ROWS = [(0.0, 100, 10), (1.5, 200, 20), (3.0, 300, 30), (62.0, 400, 40)]


@pytest.fixture
def trace(tmp_path):
    file = tmp_path / "trace.csv"
    lines = ["arrival_s,prompt_tokens,output_tokens", *(",".join(map(str, row)) for row in ROWS)]
    file.write_text("\n".join(lines) + "\n")
    return file


def call(capsys, *args):
    with pytest.raises(SystemExit) as end:
        main([str(arg) for arg in args])
    captured = capsys.readouterr()
    return end.value.code or 0, captured.out, captured.err


def test_describe(capsys, trace):
    code, out, _ = call(capsys, "traces", "describe", trace, "--json")
    numbers = json.loads(out)
    assert (code, numbers["requests"], numbers["duration_s"]) == (0, 4, 62.0)
    assert (numbers["prompt"]["mean"], numbers["output"]["max"]) == (250.0, 40)
    _, table, _ = call(capsys, "traces", "describe", trace)
    assert "250.0" in table
    assert "62" in table


def test_describe_plots(capsys, trace, tmp_path):
    code, _, _ = call(capsys, "traces", "describe", trace, "--plot", tmp_path / "plot.png")
    assert code == 0
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_fit_can_be_described_like_its_trace(capsys, trace, tmp_path):
    code, _, err = call(capsys, "traces", "fit", trace, "--out", tmp_path / "fit.yaml")
    assert code == 0
    assert "4 requests fitted" in err
    _, out, _ = call(capsys, "traces", "describe", tmp_path / "fit.yaml", "--json")
    assert json.loads(out)["requests"] == 4


def test_export_keeps_the_requests(capsys, trace, tmp_path):
    code, _, _ = call(capsys, "traces", "export", trace, tmp_path / "out.jsonl")
    assert code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [(row["timestamp"] / 1000, row["input_length"], row["output_length"]) for row in rows] == ROWS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["export", "{trace}", "{folder}/none/out.jsonl"],
            "{folder}/none/out.jsonl: there is no folder '{folder}/none'",
        ),
        (["export", "{trace}", "{folder}"], "{folder}: is a folder; name a file"),
        (["fit", "{trace}", "--out", "{folder}/none/fit.yaml"], "there is no folder '{folder}/none'"),
        (["describe", "{trace}", "--plot", "{folder}"], "{folder}: is a folder; name a file"),
        (["describe", "azure_cnv_2023"], "unknown trace 'azure_cnv_2023' (did you mean 'azure_conv_2023'?)"),
        (["fetch", "azure_cnv_2023"], "unknown trace 'azure_cnv_2023' (did you mean 'azure_conv_2023'?)"),
        (["describe", "{folder}/none.csv"], "no such trace file: '{folder}/none.csv'"),
    ],
)
def test_mistakes_exit_2(capsys, trace, tmp_path, args, message):
    code, out, err = call(capsys, "traces", *(arg.format(trace=trace, folder=tmp_path) for arg in args))
    assert (code, out) == (2, "")
    assert message.format(folder=tmp_path) in err
    assert err.count("\n") == 1
