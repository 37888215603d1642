"""Splitwise's cluster scheduler: a prompt pool, a token pool, and a mixed pool that both lend instances to.

Source: Patel et al., Splitwise: Efficient Generative LLM Inference Using Phase Splitting, ISCA 2024, section 4, as its
simulator (splitwise-sim) has it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from simulator.cluster.front import Front
from simulator.cluster.handover import Handover
from simulator.cluster.pool import Pool
from simulator.core import InputError, Request
from simulator.engine.instance import Instance

if TYPE_CHECKING:
    from simulator.cluster.cluster import Cluster


class _Assigned(NamedTuple):
    prompt: int
    token: int


class _Side:
    """The instances of one pool, by pending tokens (prompts whole, each output 1) and by scheduled KV tokens."""

    def __init__(self, pending: Sequence[int], memory: Sequence[int], members: Sequence[int]) -> None:
        self.by_pending, self.by_memory = Pool(pending, members), Pool(memory, members)

    def join(self, index: int) -> None:
        self.by_pending.join(index)
        self.by_memory.join(index)

    def leave(self, index: int) -> None:
        self.by_pending.leave(index)
        self.by_memory.leave(index)

    def changed(self, index: int) -> None:
        self.by_pending.changed(index)
        self.by_memory.changed(index)


def go_on(instance: Instance, request: Request) -> None:
    """Let a request that was handed over after its first token make the others where it is, without a pause."""
    request.stop_at = request.output_tokens
    instance.core.scheduler.adopt(request)
    instance.wake()


class TokenJSQ(Front):
    """Splitwise's baseline: requests go where the fewest tokens are pending, prompts whole and each output 1."""

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle."""
        super().start(cluster)
        self.pending = [0] * len(cluster.instances)
        self._pool = Pool(self.pending, range(len(cluster.instances)))

    def arrived(self, request: Request) -> None:
        """Send a request to the least loaded instance."""
        index = self._pool.least()
        assert index is not None
        self._add(index, request.prompt_tokens + 1)
        request.stop_at = 1
        self.cluster.instances[index].submit(request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Count a prompt as done."""
        self._add(instance.index, -request.prompt_tokens)
        go_on(instance, request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Count a request as gone."""
        self._add(instance.index, -1 - (request.prompt_tokens if request.stop_at == 1 else 0))

    def _add(self, index: int, tokens: int) -> None:
        self.pending[index] += tokens
        self._pool.changed(index)


class Splitwise(Front):
    """Chooses both instances of a request when it arrives; instances lent to the mixed pool return when they are idle.

    Its prompt goes where the fewest tokens are pending, in the prompt pool or else the mixed one, unless it would wait
    there with more than ``max_pending_tokens``; then a token instance is lent. Its output goes where the least KV is
    scheduled, in the token pool or else the mixed one, unless it would not fit; then a prompt instance is lent. Where
    nobody is left to lend, the least pending instance of all runs both.
    """

    def __init__(
        self, prompt: Sequence[int], token: Sequence[int], handover: Handover, *, max_pending_tokens: int = 8192
    ) -> None:
        if not prompt or not token:
            raise InputError("Splitwise needs instances for prompts and for tokens", hint="give instances a role")
        self.max_pending_tokens = max_pending_tokens
        self.handover = handover
        count = 1 + max(*prompt, *token)  # there may be other instances between them
        self.pending, self.memory = [0] * count, [0] * count
        self._work = [0] * count  # prompts and outputs assigned to each instance that have not ended
        self._prompts = [0] * count
        self.prompt = _Side(self.pending, self.memory, prompt)
        self.token = _Side(self.pending, self.memory, token)
        self.mixed = _Side(self.pending, self.memory, ())
        self._home = {**dict.fromkeys(prompt, self.prompt), **dict.fromkeys(token, self.token)}
        self._at = dict(self._home)
        self._all = Pool(self.pending, sorted(self._home))
        self._assigned: dict[Request, _Assigned] = {}

    def start(self, cluster: "Cluster") -> None:
        """Begin with all instances idle and at home."""
        super().start(cluster)
        self.handover.start(cluster, list(self.instances), self._move)
        self._capacity = [instance.core.kv.total * instance.core.kv.block_size for instance in cluster.instances]

    def arrived(self, request: Request) -> None:
        """Choose a request's instances, and send its prompt; one that some instance could not hold fails."""
        instances = self.cluster.instances
        if self.handover.refuses(request, instances[min(self._home)]):
            return
        chosen = self._choose(request)
        self._assigned[request] = chosen
        tokens = request.prompt_tokens + request.output_tokens
        self._add(chosen.prompt, request.prompt_tokens, request.prompt_tokens if chosen.prompt != chosen.token else 0)
        self._prompts[chosen.prompt] += 1
        self._add(chosen.token, 1, tokens)
        request.stop_at = 1
        instances[chosen.prompt].submit(request)

    def handed_over(self, instance: Instance, request: Request) -> None:
        """Move a request's KV to the instance chosen for its output, or let it go on where it is."""
        self.handover.take(instance, request)

    def _move(self, instance: Instance, request: Request) -> None:
        token = self._assigned[request].token
        if token == instance.index:
            go_on(instance, request)
        else:
            self.handover.ask(request, instance, self.cluster.instances[token])
        self._prompt_done(request)

    def ended(self, instance: Instance, request: Request) -> None:
        """Count a request as gone, and let instances without work go home."""
        chosen = self._assigned.get(request)
        if chosen is None:
            return  # refused at the door
        if request.stop_at == 1:
            self._prompt_done(request)
        del self._assigned[request]
        self._add(chosen.token, -1, -request.prompt_tokens - request.output_tokens, work=-1)

    def _prompt_done(self, request: Request) -> None:
        chosen = self._assigned[request]
        self._prompts[chosen.prompt] -= 1
        held = request.prompt_tokens if chosen.prompt != chosen.token else 0
        self._add(chosen.prompt, -request.prompt_tokens, -held, work=-1)

    def _choose(self, request: Request) -> _Assigned:
        prompt = self._prompt_instance(request.prompt_tokens)
        token = self._token_instance(request.prompt_tokens + request.output_tokens)
        if prompt is None and (prompt := self.token.by_pending.least()) is not None:
            self._lend(prompt)
        if token is None and (token := self.prompt.by_memory.least()) is not None:
            self._lend(token)
        if prompt is None or token is None:
            prompt = token = self._all.least()
        assert prompt is not None and token is not None
        return _Assigned(prompt, token)

    def _prompt_instance(self, tokens: int) -> int | None:
        for side in (self.prompt, self.mixed):
            index = side.by_pending.least()
            if index is not None and not (
                self._prompts[index] and self.pending[index] + tokens > self.max_pending_tokens
            ):
                return index
        return None

    def _token_instance(self, tokens: int) -> int | None:
        for side in (self.token, self.mixed):
            index = side.by_memory.least()
            if index is not None and self.memory[index] + tokens <= self._capacity[index]:
                return index
        return None

    def _lend(self, index: int) -> None:
        self._at[index].leave(index)
        self._at[index] = self.mixed
        self.mixed.join(index)

    def _add(self, index: int, pending: int, memory: int, work: int = 1) -> None:
        self.pending[index] += pending
        self.memory[index] += memory
        self._work[index] += work
        self._all.changed(index)
        if not self._work[index] and self._at[index] is self.mixed:
            self.mixed.leave(index)
            self._at[index] = self._home[index]
            self._at[index].join(index)
        else:
            self._at[index].changed(index)
