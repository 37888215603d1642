"""The command ``tokenyard``: options in, tables and exit codes out."""
