"""What all kinds of speculative decoding have in common: how far drafts are right, what they keep in memory."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

from pydantic import Field

from simulator.core import PS_PER_S, InputError
from simulator.cost.base import CostModel
from simulator.cost.kv_memory import Held
from simulator.cost.speculative import Draft, SpeculativeCost, Step, expected_tokens
from simulator.experiment.schema import Experiment, InstanceSpec
from simulator.experiment.techniques.base import Parts, Technique
from simulator.hardware.engine_profile import Build, EngineProfile, Host
from simulator.scheduling.registry import SCHEDULERS

Share = Annotated[float, Field(ge=0, le=1)]
Acceptance = Share | Annotated[list[Share], Field(min_length=1)]
Tokens = Annotated[int, Field(ge=1, le=64)]


class Speculation(Technique):
    """Base of speculative decoding: ``acceptance`` as one rate, or by position of the draft token."""

    level = "engine"
    exclusive = "speculative decoding"

    def __init__(self, acceptance: float | list[float], tokens: int, nodes: int | None = None) -> None:
        rates = acceptance if isinstance(acceptance, list) else [acceptance] * tokens
        if len(rates) != tokens:
            raise InputError(
                f"{len(rates)} rates of acceptance for {tokens} draft tokens", hint="one rate, or one for each position"
            )
        proposed = tokens if nodes is None else nodes
        if proposed < tokens:
            raise InputError(f"a tree of {proposed} nodes has no path of {tokens} tokens", hint="more nodes")
        self.proposed = proposed  # tokens that the model verifies beside its own next one
        self.step = Step(proposed + 1, expected_tokens(rates))

    def check(self, config: Experiment, before: Sequence[Technique]) -> None:
        """Refuse tokens that skip layers: a verification needs the whole model's answer."""
        if any(each.exclusive == "depth" for each in before):
            raise InputError("speculative decoding verifies tokens that skip layers", hint="keep one of them")

    def build(self, build: Build, engine: EngineProfile) -> Build:
        """Return the engine with the host's time for each request spread over the tokens verified for it."""
        verified = self.step.verified

        def spread(host: Host) -> Host:
            shares = {name: getattr(host, name) / verified for name in ("sequence", "floor_sequence")}
            return host.model_copy(update=shares)

        return build.model_copy(update={"host": spread(build.host), "in_process": spread(build.in_process)})

    def cost(self, cost: CostModel, parts: Parts) -> CostModel:
        """Return iterations of an engine that speculates."""
        sequence_ps = parts.host.sequence * self.step.verified * PS_PER_S
        note = f"speculative decoding: {self.proposed} tokens proposed, {self.step.gained:.2f} made a step"
        return SpeculativeCost(cost, self.draft(parts), self.step, sequence_ps, note)

    def memory(self, held: Held, parts: Parts) -> Held:
        """Return memory with the draft's weights and KV, and KV of proposed tokens for as many requests as may run."""
        more = self.held(parts)
        token = held.token + more.token
        slots = most_running(parts.spec) * self.proposed * token
        return Held(held.weights + more.weights + slots, token)

    @abstractmethod
    def draft(self, parts: Parts) -> Draft:
        """Return what proposes tokens on an instance."""

    @abstractmethod
    def held(self, parts: Parts) -> Held:
        """Return what the draft keeps on each GPU."""


def without_host(parts: Parts) -> Parts:
    """Return the parts for a model within another one's step: the host's work is done once, and it has one stage."""
    nothing = {name: 0.0 for name in Host.model_fields if name not in ("prefill", "decode")}
    return replace(parts, host=parts.host.model_copy(update=nothing), parallel=parts.parallel._replace(pipeline=1))


def most_running(spec: InstanceSpec) -> int:
    """Return the most requests that an instance's policy lets run at once; InputError if it names no limit."""
    name = spec.scheduler.name
    for key, parameter in SCHEDULERS.parameters(name).items():
        if key in ("max_num_seqs", "max_batch_size"):
            return int(spec.scheduler.params.get(key, parameter.default))
    raise InputError(
        f"policy {name} limits no batch, so KV slots for proposed tokens cannot be set aside",
        hint="a policy with max_num_seqs or max_batch_size",
    )


def before_speculation(name: str, before: Sequence[Technique]) -> None:
    """Raise InputError if speculative decoding comes before a technique that changes the steps it is made of."""
    if any(isinstance(each, Speculation) for each in before):
        raise InputError(f"{name} changes the steps of speculative decoding", hint=f"list {name} before it")
