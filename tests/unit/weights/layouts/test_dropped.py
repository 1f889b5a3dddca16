from typing import get_args

from swin_train.weights.layouts.dropped import Dropped, Reason, in_words


def test_each_reason_is_said_in_one_order() -> None:
    dropped = Dropped(unneeded=2, averages=173, counters=1, key_biases=12, pretraining=3, buffers=17)

    assert dropped.keys() == set(get_args(Reason))
    assert in_words(dropped) == [
        "dropped 17 buffers (recomputed)",
        "dropped 3 tensors of the pre-training",
        "dropped 12 key biases (torchvision sets them to zero)",
        "dropped 1 counter of the averaging",
        "dropped 173 averaged tensors (--eval takes them with TEST.WEIGHTS ema, convert with --weights ema)",
        "dropped 2 tensors that the features do not need",
    ]


def test_what_is_not_dropped_is_not_said() -> None:
    assert in_words(Dropped()) == in_words(Dropped(buffers=0)) == []
