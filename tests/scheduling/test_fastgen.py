"""Dynamic split-fuse, one plan at a time."""

from support.stepping import Stepper


def test_every_iteration_has_the_same_tokens_while_prompts_wait():
    engine = Stepper("fastgen", max_num_seqs=8, max_num_batched_tokens=10)
    for prompt in (4, 13, 2, 30):
        engine.new(prompt)
    given = engine.steps(5)
    assert given[:2] == [{0: 4, 1: 6}, {0: 1, 1: 7, 2: 2}]
    assert all(sum(each.values()) == 10 for each in given)


def test_memory_is_taken_piece_by_piece():
    engine = Stepper("fastgen", max_num_seqs=8, max_num_batched_tokens=10, blocks=40)
    engine.new(25)
    engine.step()
    assert engine.kv.free == 30


def test_a_decode_without_a_block_sits_out_with_its_memory_and_goes_first_then():
    engine = Stepper("fastgen", max_num_seqs=8, max_num_batched_tokens=100, blocks=18)
    short, *others = engine.new(5, output=3), engine.new(5, output=6), engine.new(5, output=6)
    # 15 blocks, 3 more in the first decodes; then none are left for anybody but the ends give some back.
    assert engine.steps(2) == [{0: 5, 1: 5, 2: 5}, {0: 1, 1: 1, 2: 1}]
    assert engine.kv.free == 0
    assert not short.preemptions
    # All sit out: a deadlock, after which everybody is computed again, as far as memory goes.
    assert engine.step() == {0: 7, 1: 7}
    assert [each.preemptions for each in (short, *others)] == [1, 1, 1]
    assert sorted(engine.run()) == [1, 2]


def test_who_sits_out_goes_on_where_it_stopped():
    engine = Stepper("fastgen", max_num_seqs=8, max_num_batched_tokens=100, blocks=19)
    for output in (3, 8, 8):
        engine.new(5, output=output)
    engine.steps(2)
    # One block is left: the first takes it, makes its last token, and gives back seven.
    assert engine.step() == {0: 1}
    assert engine.step() == {1: 1, 2: 1}
    assert engine.run() == [1, 2]
