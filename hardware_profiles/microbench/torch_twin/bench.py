"""How the twin checks, times and writes down an operator: on a GPU with events and graphs, on a CPU by processor time.

Processor time is that of one thread: what else the machine does then hardly shows.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from nvml import Nvml
from records import Records
from sampling import Rule, Samples

Run = Callable[[], Any]
_LEAST_FLUSH = 256 << 20  # bytes
_HOT_SAMPLE = 200e-6  # seconds that a sample of repeated launches should at least last
_MOST_REPEATS = 200
_COOLINGS = 3


@dataclass
class Case:
    """What is measured: an operator of a library at a point, its FLOPs and the bytes it must move."""

    op: str
    library: str
    point: dict[str, Any]
    flop: float = 0.0
    bytes: float = 0.0
    modes: tuple[str, ...] = ("cold", "hot")

    def key(self, l2: str) -> str:
        """Return what tells this result from others, as the CUDA harness writes it."""
        return f"{self.op}|{self.library}|{l2}|" + ",".join(f"{name}={value}" for name, value in self.point.items())


class Ready(NamedTuple):
    """A case ready to run; ``wrong`` returns the relative error of what a run left, which ``tolerance`` bounds."""

    run: Run
    wrong: Callable[[], float]
    tolerance: float


@dataclass
class Bench:
    """One run of the twin on a device."""

    device: torch.device
    records: Records
    nvml: Nvml
    quick: bool
    tiny: bool = False
    rule: Rule = field(init=False)

    def __post_init__(self) -> None:
        self.rule = Rule(7, 60, 0.01, 0.1) if self.quick or self.tiny else Rule()
        caches = torch.cuda.get_device_properties(self.device).L2_cache_size if self.on_gpu else 64 << 20
        self._flush = torch.ones(max(_LEAST_FLUSH, 2 * caches) // 4, dtype=torch.float32, device=self.device)

    @property
    def on_gpu(self) -> bool:
        """Tell whether times are a GPU's."""
        return self.device.type == "cuda"

    def measure(self, case: Case, prepare: Callable[[], Ready]) -> None:
        """Check and time a case unless the file has it; failures become error lines."""
        due = [mode for mode in case.modes if not self.records.has(case.key(mode))]
        if not due:
            return
        try:
            ready = prepare()
            ready.run()
            self.wait()
            wrong = ready.wrong()
            # Written so that no number at all does not pass.
            if not wrong <= ready.tolerance:
                raise RuntimeError(f"its result is wrong: relative error {wrong:.3g}, allowed {ready.tolerance:.3g}")
            for mode in due:
                once = self._cold(ready.run) if mode == "cold" else self._hot(ready.run)
                self.sample(case, mode, once, wrong)
        except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
            self.error(case, str(error).strip().splitlines()[0])

    def sample(self, case: Case, l2: str, once: Callable[[], float], wrong: float = 0.0) -> None:
        """Take samples (seconds) until they settle, and write the result down."""
        for _ in range(_COOLINGS):
            samples = Samples()
            once()
            start = time.perf_counter()
            while not samples.enough(self.rule, time.perf_counter() - start):
                samples.add(once())
            # Asked while the GPU is still at the clocks it measured at.
            state = {"sm_mhz": self.nvml.sm_mhz(), "watts": self.nvml.watts()}
            state |= {"throttled": self.nvml.throttled(), "power_capped": self.nvml.power_capped()}
            if not state["throttled"]:
                break
            self.say(f"  slowed down at {self.nvml.celsius()} C; waiting for it to cool")
            time.sleep(2 if self.quick else 10)
        record = {"kind": "result", "op": case.op, "library": case.library, "point": case.point, "l2": l2}
        record |= samples.summary(self.rule) | {"error": wrong, "flop": case.flop, "bytes": case.bytes} | state
        self.records.write(record, case.key(l2))

    def error(self, case: Case, message: str) -> None:
        """Write down why a case was not measured."""
        record = {"kind": "error", "op": case.op, "library": case.library, "point": case.point, "message": message}
        try:
            self.wait()
        except RuntimeError:
            # After some errors (a bad address, say) the GPU answers nothing more until the process ends.
            for mode in case.modes:
                self.records.write(record | {"fatal": True}, case.key(mode))
            again = "run the same command again, it goes on after this point"
            sys.exit(f"the GPU gave up at {case.op} {case.point}: {message}; {again}")
        self.records.write(record, case.key(case.modes[0]))
        self.say(f"error: {case.op} {case.point}: {message}")

    def note(self, text: str) -> None:
        """Write down what was left out and why."""
        self.records.write({"kind": "note", "text": text})
        self.say(f"note: {text}")

    def say(self, text: str) -> None:
        """Tell the person at the terminal."""
        sys.stderr.write(text + "\n")

    def wait(self) -> None:
        """Wait until the device has done all it was given."""
        if self.on_gpu:
            torch.cuda.synchronize(self.device)

    def timed(self, run: Run) -> float:
        """Return the seconds of one run on the device."""
        if not self.on_gpu:
            start = time.thread_time()
            run()
            return time.thread_time() - start
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        run()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3

    def flush(self) -> None:
        """Read more than the caches hold; on a GPU this also hides the launch of what follows."""
        self._flush.sum()

    def _cold(self, run: Run) -> Callable[[], float]:
        def once() -> float:
            self.flush()
            return self.timed(run)

        return once

    def _hot(self, run: Run) -> Callable[[], float]:
        repeats = min(_MOST_REPEATS, 1 + int(_HOT_SAMPLE / max(self.timed(run), 1e-7)))
        if not self.on_gpu:
            return lambda: self.timed(lambda: [run() for _ in range(repeats)]) / repeats
        graph = capture(run, repeats)

        def once() -> float:
            self.flush()
            graph.replay()
            return self.timed(graph.replay) / repeats

        return once


def capture(run: Run, repeats: int) -> torch.cuda.CUDAGraph:
    """Return a CUDA graph of so many runs."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(repeats):
            run()
    return graph


def relative_error(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """Return ||found - wanted|| / ||wanted||, in double."""
    difference = (found.double() - wanted.double()).norm()
    return float(difference / wanted.double().norm().clamp_min(1e-30))
