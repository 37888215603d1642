"""How long an iteration takes: model x hardware x parallelism."""
