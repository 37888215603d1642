"""From ``cluster.disaggregation`` and the instances' roles to the front that splits prefill and decode."""

from simulator.cluster.disaggregated import Disaggregated
from simulator.cluster.front import Front
from simulator.cluster.handover import Handover, KVShape
from simulator.cluster.registry import ROUTERS
from simulator.cluster.router import Router
from simulator.cluster.splitwise import Splitwise
from simulator.cluster.tetriinfer import TetriInfer
from simulator.core import InputError, to_ps
from simulator.experiment.cluster_sections import DisaggregationSpec
from simulator.experiment.groups import Group
from simulator.scheduling.predictors import make_predictor


def disaggregated(
    choice: DisaggregationSpec | None,
    group: Group,
    router: Router,
) -> Front:
    """Return the front of instances that have roles; InputError where they don't fit."""
    specs, model = group.specs, group.model
    if any(spec.role == "mixed" for spec in specs):
        raise InputError(
            "some instances have a role and others none", where="cluster.instances", hint="give all of them a role"
        )
    shapes = {model.with_precision(spec.quantization, spec.kv_cache_dtype).kv_bytes_per_token() for spec in specs}
    if len(shapes) > 1:
        raise InputError(
            "prefill and decode instances keep KV in different formats",
            where="cluster.instances",
            hint="the same kv_cache_dtype for all",
        )
    choice = choice or DisaggregationSpec()
    handover = Handover(
        group.topology,
        KVShape(shapes.pop(), model.layers),
        transfer=choice.transfer,
        mode=choice.mode,
        backlog=choice.backlog,
    )
    prefill, decode = group.of_role("prefill"), group.of_role("decode")
    if (splitwise := choice.splitwise) is not None:
        return Splitwise(prefill, decode, handover, max_pending_tokens=splitwise.max_pending_tokens)
    if (tetri := choice.tetriinfer) is not None:
        return TetriInfer(
            prefill,
            decode,
            handover,
            make_predictor(tetri.predictor),
            admission=tetri.admission,
            heavy_prompt=tetri.heavy_prompt,
            heavy_output=tetri.heavy_output,
            flip_after_ps=None if tetri.flip_after is None else to_ps(tetri.flip_after),
        )
    decode_router = ROUTERS.make(choice.decode_router.name, choice.decode_router.params)
    return Disaggregated(prefill, decode, router, decode_router, handover)
