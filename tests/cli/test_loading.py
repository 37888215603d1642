"""What commands load, and how they end: quickly, but with everything written."""

import gc
import os
import subprocess
import sys

import pytest
from support.small import SMALL

from simulator.cli.loading import loading

EXPERIMENT = (
    SMALL
    + """\
  instances: [{count: 2, hardware: h100_sxm}]
  router: "own:Own"
"""
)

OWN = """
from simulator.cluster.router import Router

class Own(Router):
    def __init__(self):
        self.log, self.itself = open("log.txt", "w"), self

    def route(self, request):
        self.log.write("routed\\n")
        return 0

    def __del__(self):
        self.log.close()
"""


def run(script, *words):
    """Return what a new interpreter prints."""
    done = subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_a_command_loads_no_other():
    script = (
        "import sys\n"
        "from simulator.cli.main import main\n"
        "try:\n"
        "    main(sys.argv[1:])\n"
        "except SystemExit:\n"
        "    print('loaded:', *(name for name in sys.modules if name.startswith('simulator.cli.')))\n"
    )
    printed = run(script, "run", "--help")
    assert "simulator.cli.run" in printed
    assert not {"simulator.cli.plan", "simulator.cli.validate", "simulator.cli.calibrate"} & set(printed)


def test_a_policy_of_the_users_own_has_its_end(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "small.yaml").write_text(EXPERIMENT)
    command = [sys.executable, "-m", "simulator.cli.main", "run", "small.yaml", "--no-report", "--out", "out"]
    # Where the package is importable from here, it must be there, too.
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    assert (tmp_path / "log.txt").read_text() == "routed\n" * 20


@pytest.mark.parametrize("on", [True, False])
def test_garbage_is_collected_afterwards_as_before(on):
    before = gc.isenabled()
    try:
        (gc.enable if on else gc.disable)()
        with loading():
            assert not gc.isenabled()
        assert gc.isenabled() == on
        with pytest.raises(ValueError), loading():
            raise ValueError
        assert gc.isenabled() == on
    finally:
        (gc.enable if before else gc.disable)()


def test_what_is_loaded_the_first_time_is_kept_and_nothing_later():
    script = (
        "import gc\n"
        "from simulator.cli.loading import keep_loaded\n"
        "counts = [gc.get_freeze_count()]\n"
        "for _ in range(2):\n"
        "    made = [[] for _ in range(1000)]\n"
        "    keep_loaded()\n"
        "    counts.append(gc.get_freeze_count())\n"
        "print(*counts)\n"
    )
    before, first, second = map(int, run(script))
    assert before == 0
    assert first > 1000
    assert second <= first
