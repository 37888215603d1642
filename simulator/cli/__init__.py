"""The command ``tokenyard``: options in, tables and exit codes out."""

import os

# NumPy's linear algebra has small matrices here: threads of its own would only spin, 0.1 CPU s in every command.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Pydantic would read what every installed package declares to find plug-ins of its own: 0.01 CPU s in every command.
os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
