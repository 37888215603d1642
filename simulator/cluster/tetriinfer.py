"""TetriInfer's two-level scheduler: decode instances chosen by predicted lengths, and roles that change.

Source: Hu et al., Inference without Interference: Disaggregate LLM Inference for Mixed Downstream Workloads, arXiv
2401.11181, section 3. Its prefill instances' chunks and order are a policy of the engine: ``scheduling/tetriinfer.py``.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Literal

from simulator.cluster.front import Front
from simulator.cluster.handover import Handover
from simulator.cluster.pool import Pool
from simulator.core import PS_PER_MS, InputError, Request
from simulator.engine.instance import Instance
from simulator.scheduling.predictors import Predictor

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster

Admission = Literal["greedy", "reserve_static", "reserve_dynamic"]
_MONITOR_PS: Final = 100 * PS_PER_MS  # how often the cluster monitor looks at loads (section 3.2)


class TetriInfer(Front):
    """Prompts go to the least loaded prefill instance; outputs to one of two random decode instances with memory.

    Of these two, the one with the smaller share of heavy requests (more than ``heavy_output`` tokens predicted, or a
    prompt of more than ``heavy_prompt``) takes it. ``admission``: KV is sent when it fits (``greedy``), when what the
    request may grow to fits into what is free now (``reserve_static``), or into what is free when the shortest job
    there ends (``reserve_dynamic``). ``flip_after_ps``: an instance idle for so long changes its role when nobody of
    the other role is idle; None: never.
    """

    def __init__(
        self,
        prefill: Sequence[int],
        decode: Sequence[int],
        handover: Handover,
        predictor: Predictor,
        *,
        admission: Admission = "reserve_dynamic",
        heavy_prompt: int = 512,
        heavy_output: int = 128,
        flip_after_ps: int | None = None,
    ) -> None:
        if not prefill or not decode:
            raise InputError("disaggregation needs prefill and decode instances", hint="give instances a role")
        self.handover, self.predictor, self.admission = handover, predictor, admission
        self.heavy_prompt, self.heavy_output, self.flip_after_ps = heavy_prompt, heavy_output, flip_after_ps
        count = 1 + max(*prefill, *decode)  # there may be other instances between them
        self.pending = [0] * count  # prompt tokens sent to each instance and not computed yet
        self.prefill = Pool(self.pending, prefill)
        self.decode = list(decode)
        self.flips = 0
        self._expected = [0] * count  # tokens that requests at each decode instance are expected to hold in the end
        self._heavy, self._present = [0] * count, [0] * count
        self._predicted: dict[Request, int] = {}
        self._prompts: set[Request] = set()
        self._idle_since = dict.fromkeys(sorted([*prefill, *decode]), 0)

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        flips = self.flip_after_ps is not None
        targets = list(self.instances) if flips else [cluster.instances[index] for index in self.decode]
        self.handover.start(cluster, targets, self._choose)
        self.handover.admits = self._admits
        self._capacity = [instance.core.kv.total * instance.core.kv.block_size for instance in cluster.instances]
        if flips:
            cluster.every(_MONITOR_PS, self._look)

    def arrived(self, request: Request) -> None:
        """Send a prompt to the least loaded prefill instance; one that no decode instance can hold fails."""
        index = self.prefill.least()
        assert index is not None
        instance = self.cluster.instances[index]
        if self.handover.refuses(request, instance):
            return
        self._prompts.add(request)
        self._load(index, request.prompt_tokens)
        self._enter(index)
        request.stop_at = 1
        instance.submit(request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Look for a decode instance for a request that has its first token."""
        self.handover.take(instance, request)

    def _choose(self, instance: Instance, request: Request) -> None:
        self._prompt_done(instance.index, request)
        predicted = self._predicted[request] = max(round(self.predictor.predict(request)), 1)
        index = self._pick(request.prompt_tokens + predicted)
        self._expected[index] += request.prompt_tokens + predicted
        self._heavy[index] += self._is_heavy(request)
        self._enter(index)
        self.handover.ask(request, instance, self.cluster.instances[index])

    def ended(self, instance: Instance, request: Request) -> None:
        """Count a request as gone."""
        index = instance.index
        if (predicted := self._predicted.get(request)) is not None:
            self._expected[index] -= request.prompt_tokens + predicted
            self._heavy[index] -= self._is_heavy(request)
            del self._predicted[request]
            self._leave(index)
        elif request in self._prompts:
            self._prompt_done(index, request)
        if request.failure is None:
            self.predictor.learn(request)

    def _prompt_done(self, index: int, request: Request) -> None:
        self._prompts.remove(request)
        self._load(index, -request.prompt_tokens)
        self._leave(index)

    def _is_heavy(self, request: Request) -> bool:
        return request.prompt_tokens > self.heavy_prompt or self._predicted[request] > self.heavy_output

    def _pick(self, tokens: int) -> int:
        """Return the better of two random decode instances with memory for so many tokens; of any two without."""
        fitting = [index for index in self.decode if self._expected[index] + tokens <= self._capacity[index]]
        among = fitting or self.decode
        if len(among) == 1:
            return among[0]
        first = int(self.stream.integers(len(among)))
        second = (first + 1 + int(self.stream.integers(len(among) - 1))) % len(among)
        return min((among[first], among[second]), key=self._load_of)

    def _load_of(self, index: int) -> tuple[float, int, int]:
        present = self._present[index]
        return (self._heavy[index] / present if present else 0.0, present, self._expected[index])

    def _admits(self, target: Instance, request: Request) -> bool:
        """Tell whether a decode instance takes a request's KV, which has room for it as it is.

        It only gets harder while nobody finishes, as a claim on KV blocks must.
        """
        kv, decodes = target.core.kv, target.core.decodes
        if self.admission == "greedy" or kv.used == 0:
            return True
        grown = request.prompt_tokens + self._predicted[request]
        if self.admission == "reserve_static" or not decodes:
            return kv.blocks_for(grown) <= kv.free
        left = {member: self._predicted[member] - _made(member, decodes.iteration) for member in decodes}
        shortest = min(left, key=lambda member: (left[member], member.index))
        # In tokens, which all grow by one an iteration, so that the answer stays the same until somebody finishes.
        iterations = max(left[shortest], 1)
        context = decodes.context + iterations * len(decodes) - (shortest.offset + decodes.iteration + iterations)
        waiting = sum(each.computed for each in (*self.handover.moving[target.index], *target.core.scheduler.adopted))
        return context + waiting + grown <= kv.total * kv.block_size

    def _load(self, index: int, tokens: int) -> None:
        self.pending[index] += tokens
        self.prefill.changed(index)

    def _enter(self, index: int) -> None:
        self._present[index] += 1
        self._idle_since.pop(index, None)

    def _leave(self, index: int) -> None:
        self._present[index] -= 1
        if not self._present[index]:
            self._idle_since[index] = self.cluster.clock.time

    def _look(self, now: int) -> None:
        """Flip the role of an instance that was idle for long, where nobody of the other role is."""
        assert self.flip_after_ps is not None
        for since, index in sorted((since, index) for index, since in self._idle_since.items()):
            if now - since < self.flip_after_ps:
                return
            prefills = index in self.prefill.members
            mine, other = len(self.prefill), self.decode
            if not prefills:
                mine, other = len(self.decode), list(self.prefill.members)
            if mine == 1 or any(each in self._idle_since for each in other):
                continue
            if prefills:
                self.prefill.leave(index)
                self.decode.append(index)
            else:
                self.decode.remove(index)
                self.prefill.join(index)
            self.flips += 1
            self._idle_since[index] = now
            return


def _made(request: Request, iteration: int) -> int:
    """Return the tokens that a member of a decode set has made before an iteration."""
    return request.stop_at - request.finish_iteration + iteration - 1
