"""Process facts and collectives: who am I, what do we sum, how is a model spread over processes."""

from swin_train.distributed.launch import launch
from swin_train.distributed.parallelize import Spread, choose_spread, parallelize, unwrap
from swin_train.distributed.runtime import Runtime

__all__ = ["Runtime", "Spread", "choose_spread", "launch", "parallelize", "unwrap"]
