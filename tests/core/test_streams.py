"""Random streams do not disturb one another."""

from simulator.core import Streams


def test_a_stream_depends_on_seed_and_purpose_alone():
    streams = Streams(5)
    first = streams.get("arrivals").random(4).tolist()
    streams.get("router").random(100)
    assert streams.get("arrivals").random(4).tolist() == first
    assert Streams(5).get("arrivals").random(4).tolist() == first
    assert Streams(6).get("arrivals").random(4).tolist() != first
    assert streams.get("router").random(4).tolist() != first


def test_a_stream_is_the_same_everywhere():
    # Recorded once: a change would change every result ever published.
    assert Streams(0).get("arrivals").integers(10**6, size=4).tolist() == [192149, 127472, 280508, 26520]
