"""The simulator's answers beside recorded and measured ones."""
