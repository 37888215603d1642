"""Techniques in any combination, under any policy: refused with a reason, or the fast path stays exact."""

from hypothesis import event, given, settings
from hypothesis import strategies as st
from support.techniques import MIXED, SPLIT, examples, experiment, simulated, times

from simulator.core import InputError
from simulator.experiment.techniques.registry import TECHNIQUES

NAMES = [name for name in TECHNIQUES.names() if not TECHNIQUES.get(name).has_tiers]
POLICIES = ["vllm", "sarathi", "fcfs", "vtc", "static", "skip_join_mlfq"]


# A combination is two whole runs of a measured cluster.
@settings(max_examples=max(settings().max_examples // 4, 10))
@given(
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True),
    st.sampled_from(POLICIES),
    st.sampled_from([MIXED, SPLIT]),
    st.integers(0, 99),
)
def test_the_fast_path_stays_exact(names, policy, instances, seed):
    chosen = [examples()[name] for name in names]
    split = instances is SPLIT
    placed = [each if split and each["role"] == "decode" else {**each, "scheduler": policy} for each in instances]
    try:
        config = experiment(chosen, instances=placed, seed=seed)
        fast = simulated(config)
    except InputError as error:
        event("refused")
        assert str(error).count(":") and error.message
        return
    assert times(fast) == times(simulated(config, exact_steps=True))
    assert all(request.finished_at >= 0 or request.failure for request in fast)
