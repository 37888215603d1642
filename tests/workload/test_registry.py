"""Public traces are fetched once, checked by digest, and refused where no digest is known."""

import functools
import hashlib
import http.server
import threading

import pytest

from simulator.core.errors import InputError
from simulator.workload import registry
from simulator.workload.build import build
from simulator.workload.spec import WorkloadSpec

CONTENT = b"arrival_s,prompt_tokens,output_tokens\n0,3,4\n"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def served(tmp_path, monkeypatch):
    """Serve one trace; returns a function that registers it with a digest as 'azure_conv_2023'."""
    (tmp_path / "www").mkdir()
    (tmp_path / "www/t.csv").write_bytes(CONTENT)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "www"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("TOKENYARD_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")

    def register(sha256, file="t.csv"):
        url = f"http://127.0.0.1:{server.server_port}/{file}"
        entry = registry.PublicTrace(title="t", url=url, file=file, format="plain", sha256=sha256, bytes=None,
                                     requests=None, licence="none", citation="none")  # fmt: skip
        monkeypatch.setattr(registry, "load_registry", lambda: {"azure_conv_2023": entry})

    yield register
    server.shutdown()
    server.server_close()


def test_the_shipped_registry_is_sound():
    traces = registry.load_registry()
    assert {"azure_conv_2023", "azure_code_2023", "azure_conv_2024", "azure_code_2024", "mooncake_conversation",
            "mooncake_toolagent", "mooncake_synthetic", "burstgpt_1"} <= set(traces)  # fmt: skip
    assert len({trace.file for trace in traces.values()}) == len(traces)
    assert all(trace.url.startswith("https://") and trace.citation for trace in traces.values())


def test_an_unfetched_original_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("TOKENYARD_CACHE_DIR", str(tmp_path))
    with pytest.raises(InputError, match="tokenyard traces fetch azure_conv_2023"):
        build(WorkloadSpec(trace="azure_conv_2023@original"), 1, tmp_path)
    with pytest.raises(InputError, match="tokenyard traces fetch burstgpt_1"):
        build(WorkloadSpec(trace="burstgpt_1"), 1, tmp_path)


def test_a_fetched_original_is_read(served, tmp_path):
    served(DIGEST)
    assert registry.cached("azure_conv_2023") is None
    fetched = registry.fetch("azure_conv_2023")
    assert (fetched.sha256, fetched.pinned) == (DIGEST, True)
    assert registry.describe("azure_conv_2023")["cached"] == str(fetched.path)
    workload = build(WorkloadSpec(trace="azure_conv_2023@original"), 1, tmp_path)
    assert workload.prompt_tokens.tolist() == [3]


def test_a_wrong_digest_is_refused_and_nothing_is_kept(served):
    served("0" * 64)
    with pytest.raises(InputError, match="not the registered file"):
        registry.fetch("azure_conv_2023")
    assert registry.cached("azure_conv_2023") is None


def test_an_unknown_digest_needs_trust_and_is_held_to_ever_after(served, tmp_path):
    served(None)
    with pytest.raises(InputError, match="--trust-on-first-use"):
        registry.fetch("azure_conv_2023")
    fetched = registry.fetch("azure_conv_2023", trust=True)
    assert (fetched.sha256, fetched.pinned) == (DIGEST, False)
    fetched.path.unlink()
    (tmp_path / "www/t.csv").write_bytes(CONTENT + b"1,1,1\n")
    with pytest.raises(InputError, match="not the registered file"):
        registry.fetch("azure_conv_2023", trust=True)


def test_a_missing_page_is_an_input_error(served):
    served(DIGEST, file="gone.csv")
    with pytest.raises(InputError, match=r"can't fetch .*404.*\(download it by other means"):
        registry.fetch("azure_conv_2023")


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(InputError, match="did you mean 'burstgpt_1'"):
        registry.describe("burstgpt1")
