"""The parts of ``serve_real.py``: a small serving engine for one GPU, needing nothing but PyTorch."""
