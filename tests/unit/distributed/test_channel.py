"""A process that is alone speaks with itself."""

import json

import pytest
import torch

from swin_train.distributed.channel import Channel, _bytes_tensor, _content


def test_one_process_is_its_own_largest_and_all_there_is() -> None:
    channel = Channel()

    channel.meet()

    assert channel.largest([3, -1]) == [3, -1]
    assert channel.gather({"a": [1, None]}) == [{"a": [1, None]}]
    assert channel.from_main("x") == "x"


def test_what_is_given_is_not_changed_by_who_gets_it() -> None:
    numbers = [1, 2]

    Channel().largest(numbers).append(3)

    assert numbers == [1, 2]


@pytest.mark.parametrize("value", [None, 0, "", [], {"text": "\u00e4\u4e2d", "nested": [[1.5, True]]}])
@pytest.mark.parametrize("longest", [0, 100])
def test_values_survive_the_way_over_the_wire(value: object, longest: int) -> None:
    """As gather sends them: the length, and the JSON padded to that of the longest."""
    data = json.dumps(value).encode()
    sent = torch.cat(
        [torch.tensor([len(data)]).view(torch.uint8), _bytes_tensor(data, max(longest, len(data)))]
    )

    assert _content(sent) == value
