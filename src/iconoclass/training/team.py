"""Team: the processes that learn one network together, each from its own slice of every batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Team:
    """rank: of this process, from 0; size: how many there are; strategy: what TensorFlow lets them talk with."""

    rank: int = 0
    size: int = 1
    strategy: Any = None

    def mean(self, tensors: Sequence[Any]) -> list[Any]:
        """In a compiled step: float tensors that each has -> their means over the team, the same ones for each."""
        import tensorflow as tf

        def mean() -> Any:
            # They must belong to the device of the strategy, which an identity brings about.
            own = [tf.identity(tensor) for tensor in tensors]
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.MEAN, own)

        return list(self.strategy.run(mean))

    def gather(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The arrays of all, one behind the other in the order of their ranks."""
        if self.size == 1:
            return array
        import tensorflow as tf

        whole: npt.NDArray[Any] = self.strategy.gather(tf.constant(array), axis=0).numpy()
        return whole


_joined: list[Team] = []


def mine() -> Team:
    """The team of this process; one of its own, if it has joined none."""
    return _joined[0] if _joined else Team()


def join(rank: int, addresses: Sequence[str]) -> None:
    """Make this process the one of that rank. Once in its life, and before TensorFlow has done anything in it.

    addresses: HOST:PORT of each, where it then listens.
    """
    import tensorflow as tf

    spec = tf.train.ClusterSpec({"worker": list(addresses)})
    resolver = tf.distribute.cluster_resolver.SimpleClusterResolver(
        spec, task_type="worker", task_id=rank, rpc_layer="grpc"
    )
    strategy = tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver)
    _joined.append(Team(rank, len(addresses), strategy))
