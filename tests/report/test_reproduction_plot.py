"""A paper's figure is drawn with ours from plain values, whatever its panels hold."""

import pytest
from PIL import Image

from simulator.report.reproduction_plot import draw_reproduction

CURVES = {
    "title": "latency", "x_label": "rate", "y_label": "s", "log_y": True, "limit": 0.3,
    "series": [
        {"name": "vllm", "x": [1, 2], "y": [0.1, 0.5], "spread": [0.01, None], "paper": False},
        {"name": "vllm", "x": [1, 2], "y": [0.1, None], "spread": None, "paper": True},
    ],
}  # fmt: skip
BARS = {
    "title": "batch", "x_label": "", "y_label": "requests", "log_y": False, "limit": None,
    "series": [
        {"name": "paper", "x": ["max", "oracle"], "y": [7.0, 13.6], "spread": None, "paper": True},
        {"name": "ours", "x": ["max", "oracle"], "y": [7.1, 13.1], "spread": [0.1, 0.2], "paper": False},
        {"name": "uncalibrated", "x": ["max"], "y": [6.1], "spread": None, "paper": False},
    ],
}  # fmt: skip


@pytest.mark.parametrize("panels", [[CURVES], [BARS], [CURVES, BARS, CURVES, BARS]])
def test_panels_are_drawn_with_ink_on_paper(tmp_path, panels):
    file = tmp_path / "figure.png"
    draw_reproduction({"title": "A figure " * 20, "panels": panels}, file)
    with Image.open(file) as image:
        colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert image.width > 500
    drawn = {colour for count, colour in colours if count > 20}
    assert (0, 114, 178) in drawn, "ours has the first colour of the house"
