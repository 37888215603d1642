"""``tokenyard schema``: the JSON Schema of an experiment's YAML."""


def schema() -> None:
    """Print the JSON Schema of an experiment's YAML.

    Editors use it to complete keys and to mark mistakes while typing.

    Example: tokenyard schema > experiment.schema.json
    """
    from simulator.cli.output import print_json
    from simulator.experiment.json_schema import experiment_schema

    print_json(experiment_schema())
