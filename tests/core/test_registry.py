"""Policies by name: found, suggested, checked, imported from a user's module; mistakes are InputErrors."""

import subprocess
import sys
from typing import Literal

import pytest

from simulator.cluster.registry import ROUTERS
from simulator.core import InputError
from simulator.core.registry import Registry
from simulator.scheduling.registry import SCHEDULERS

OWN_ROUTER = """
from simulator.cluster.router import Router

class Last(Router):
    def __init__(self, *, back: int = 1):
        self.back = back

    def route(self, request):
        return self.instances - self.back

NOT_A_CLASS = 5
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """Return the name of a module with a router of the user's own."""
    (tmp_path / "own_router_for_tests.py").write_text(OWN_ROUTER)
    (tmp_path / "broken_for_tests.py").write_text("import there_is_no_such_module")
    monkeypatch.syspath_prepend(tmp_path)
    return "own_router_for_tests"


def test_the_shipped_policies_are_listed():
    assert "vllm" in SCHEDULERS.names()
    shipped = {"round_robin", "random", "least_outstanding", "least_kv", "power_of_two", "join_shortest_queue",
               "session_affinity", "prefix_affinity"}  # fmt: skip
    assert shipped <= set(ROUTERS.names())
    assert ROUTERS.names() == sorted(ROUTERS.names())


@pytest.mark.parametrize(
    ("name", "hint"), [("round-robin", "did you mean 'round_robin'?"), ("zzz", "known: "), ("", "known: ")]
)
def test_an_unknown_name_is_answered_with_the_nearest(name, hint):
    with pytest.raises(InputError, match=f"unknown router '{name}'") as error:
        ROUTERS.get(name)
    assert error.value.hint.startswith(hint)


@pytest.mark.parametrize("module", ["queues", "registry", "make_room", "no_such"])
def test_a_module_beside_the_policies_is_none(module):
    with pytest.raises(InputError, match=f"unknown scheduler '{module}'"):
        SCHEDULERS.get(module)


def run(script):
    """Return what a new interpreter prints, where nothing is loaded yet."""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()


def test_a_name_loads_its_own_module_and_a_list_all_of_them():
    loaded = "print(*(f'simulator.scheduling.{name}' in sys.modules for name in ('sarathi', 'trtllm')))\n"
    start = "import sys\nfrom simulator.scheduling.registry import SCHEDULERS\n"
    assert run(f"{start}SCHEDULERS.get('sarathi')\n{loaded}SCHEDULERS.names()\n{loaded}") == [
        *("True", "False"),
        *("True", "True"),
    ]


def test_every_name_is_found_without_the_list():
    script = "from simulator.scheduling.registry import SCHEDULERS\nprint(SCHEDULERS.get({!r}).__name__)"
    for name in ("vllm", "skip_join_mlfq"):
        assert run(script.format(name)) == [SCHEDULERS.get(name).__name__]
    for registry in (SCHEDULERS, ROUTERS):
        assert all(registry.get(name) for name in registry.names())


def test_a_shipped_name_cannot_be_taken():
    script = "from simulator.cluster.registry import ROUTERS\nROUTERS.register('random')(int)\nROUTERS.get('random')"
    with pytest.raises(subprocess.CalledProcessError) as error:
        run(script)
    assert "router 'random' is registered twice" in error.value.stderr


def test_parameters_are_the_keywords_of_the_constructor():
    parameters = SCHEDULERS.parameters("vllm")
    assert list(parameters) == ["max_num_seqs", "max_num_batched_tokens", "policy"]
    assert parameters["max_num_seqs"].annotation is int
    assert parameters["policy"].annotation == Literal["fcfs", "priority"]
    assert parameters["policy"].default == "fcfs"
    assert not ROUTERS.parameters("round_robin")


@pytest.mark.parametrize(
    ("name", "params", "message"),
    [
        ("vllm", {"max_num_seq": 5}, "unknown parameter of scheduler vllm 'max_num_seq'"),
        ("vllm", {"max_num_seqs": "5"}, "max_num_seqs is '5'"),
        ("vllm", {"max_num_seqs": 5.5}, "max_num_seqs is 5.5"),
        ("vllm", {"max_num_seqs": True}, "max_num_seqs is True"),
        ("vllm", {"policy": "lifo"}, "policy is 'lifo'"),
        ("vllm", {"max_num_seqs": 0}, "max_num_seqs is 0"),
        ("vllm", {"max_num_seqs": 10, "max_num_batched_tokens": 9}, "max_num_seqs is 10"),
    ],
)
def test_wrong_parameters_are_named(name, params, message):
    with pytest.raises(InputError) as error:
        SCHEDULERS.make(name, params)
    assert message in error.value.message


def test_a_misspelt_parameter_is_suggested():
    with pytest.raises(InputError) as error:
        SCHEDULERS.make("vllm", {"max_num_seq": 5})
    assert error.value.hint == "did you mean 'max_num_seqs'?"


@pytest.mark.parametrize("params", [{"max_imbalance": 0.5}, {"max_imbalance": float("nan")}, {"depth": 0}])
def test_values_that_make_no_sense_are_refused(params):
    with pytest.raises(InputError):
        ROUTERS.make("prefix_affinity", params)


def test_a_class_of_the_users_own(own):
    router = ROUTERS.make(f"{own}:Last", {"back": 2})
    router.start(5, None)
    assert router.route(None) == 3
    with pytest.raises(InputError, match="back is 'two'"):
        ROUTERS.make(f"{own}:Last", {"back": "two"})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module_anywhere:X", "cannot import no_such_module_anywhere"),
        ("own_router_for_tests:Fist", "has no class Fist"),
        ("own_router_for_tests:NOT_A_CLASS", "has no class NOT_A_CLASS"),
        ("own_router_for_tests:", "has no class "),
        ("broken_for_tests:X", "there_is_no_such_module"),
    ],
)
def test_a_class_that_is_not_there(own, name, message):
    with pytest.raises(InputError) as error:
        ROUTERS.make(name, {})
    assert message in error.value.message


@pytest.mark.parametrize(
    "name",
    [":X", "collections:OrderedDict", "simulator.cluster.router:Router", "simulator.scheduling.vllm:VLLM"],
    ids=["no module", "no policy", "the abstract base", "of another kind"],
)
def test_a_class_that_cannot_be_a_router(name):
    with pytest.raises(InputError):
        ROUTERS.make(name, {})


def test_registering_a_name_twice_is_a_bug():
    registry: Registry[object] = Registry("thing", object, package="simulator.cluster.routers", group="tests.none")
    registry.register("one")(int)
    with pytest.raises(AssertionError, match="registered twice"):
        registry.register("one")(str)


def test_an_entry_point_is_found_by_its_name(tmp_path, monkeypatch, own):
    info = tmp_path / "own_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tokenyard.routers]\nlast_one = {own}:Last\n")
    assert "last_one" in ROUTERS.names()
    assert ROUTERS.make("last_one", {"back": 3}).back == 3
