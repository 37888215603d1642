"""Chunked prompts without hybrid batches: prompts and decodes take turns."""

from simulator.engine.scheduler import FOREVER, Chunk, Extras, Plan
from simulator.scheduling.registry import scheduler
from simulator.scheduling.sarathi import BLOCKED, STEADY, Sarathi

_ALONE = Extras(decodes_wait=True)


@scheduler("sarathi_turns")
class SarathiTurns(Sarathi):
    """Sarathi-Serve's ablation of chunks alone: an iteration of a prompt chunk, one of decodes, and so on.

    Parameters are those of ``sarathi``; the whole budget is the chunk's. A turn in which nothing can run is skipped.
    """

    source = (
        "Agrawal et al., Taming Throughput-Latency Tradeoff in LLM Inference with Sarathi-Serve, OSDI 2024, Table 4; "
        "its code's simple_chunking_scheduler.py"
    )

    _chunk_before = -1  # the decode iteration that had a turn of chunks before it

    def plan(self) -> Plan:
        """Compute a chunk, if it is the prompts' turn or nobody decodes; else let everyone decode."""
        decodes = self.decodes
        tried = not decodes or decodes.iteration != self._chunk_before
        if tried and (chunks := self._chunks()):
            self._chunk_before = decodes.iteration
            more = self.queue or self._partial
            return Plan(chunks, extras=_ALONE) if more else Plan(chunks, FOREVER, True, True, extras=_ALONE)
        self._let_decode()
        if not self.queue and self._partial is None:
            return STEADY
        # What a preemption gave back may be enough for a prompt.
        return BLOCKED if tried and not self.preempted else Plan()

    def _chunks(self) -> list[Chunk]:
        """Return the begun prompt's next chunk; without one, the first chunks of those that wait."""
        chunks: list[Chunk] = []
        if self._partial is not None:
            self._go_on(chunks, self.max_num_batched_tokens)
        else:
            self._start(chunks, self.max_num_batched_tokens)
        return chunks
