"""One serving instance on SimPy: iterations, KV cache, ledger."""
