"""Strategies, and which worker this process is of those that train together."""

from __future__ import annotations

import json
import os
from typing import NamedTuple

import tensorflow as tf

from configs.commands import UserError


class Workers(NamedTuple):
    """This process among those that train together."""

    number: int
    """0 is the first, which writes the run's folder."""
    total: int
    replicas: int
    """Of each of them."""
    strategy: tf.distribute.Strategy

    @classmethod
    def of(cls, strategy: tf.distribute.Strategy) -> Workers:
        """Those of a strategy; one worker unless it is of several."""
        resolver = strategy.cluster_resolver
        total = 1
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) and resolver.cluster_spec().jobs:
            total = len(resolver.cluster_spec().as_dict()["worker"])
        number = int(resolver.task_id or 0) if total > 1 else 0
        return cls(number, total, strategy.num_replicas_in_sync // total, strategy)

    @property
    def first(self) -> bool:
        """Whether this one writes, and speaks."""
        return self.number == 0

    def largest(self, value: int) -> int:
        """The largest of all workers' values, so that all stop when one is told to. All must ask."""
        if self.total == 1:
            return value
        values = self.strategy.experimental_distribute_values_from_function(lambda _: tf.constant([value]))
        gathered = self.strategy.gather(values, axis=0)
        return int(tf.reduce_max(gathered))

    def agree(self, value: int, what: str) -> None:
        """See to it that all workers have the same value. All must ask.

        Raises:
          UserError: they have not; they see different folders.
        """
        least, largest = -self.largest(-value), self.largest(value)
        if least != largest:
            raise UserError(
                f"{what} differs ({value} for this worker, {least} to {largest} in all); all must see the same folder"
            )


def make_strategy(name: str, logical_devices: int | None = None) -> tf.distribute.Strategy:
    """The distribution strategy by its name.

    ``none`` is one device; ``mirrored`` all GPUs, or all logical devices of the CPU; ``multi_worker`` those of all
    processes that TF_CONFIG lists.

    Raises:
      UserError: the CPU cannot be split that way, or TF_CONFIG is missing or wrong.
    """
    if logical_devices is not None:
        if logical_devices < 1:
            raise UserError(f"--logical-devices {logical_devices}: expected 1 or more")
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * logical_devices)
    if name == "multi_worker":
        _check_cluster(os.environ.get("TF_CONFIG", ""))
        return tf.distribute.MultiWorkerMirroredStrategy()  # before anything else asks for devices
    tf.config.list_logical_devices()  # looks for devices now, while what that writes is held back
    if name == "none":
        return tf.distribute.get_strategy()
    gpus = tf.config.list_logical_devices("GPU")
    return tf.distribute.MirroredStrategy([device.name for device in gpus or tf.config.list_logical_devices("CPU")])


def devices_of(strategy: tf.distribute.Strategy) -> list[str]:
    """Names of this process's devices, like ``GPU:0``."""
    if strategy.num_replicas_in_sync > 1:
        return [":".join(name.split(":")[-2:]) for name in strategy.extended.worker_devices]
    return ["GPU:0" if tf.config.list_logical_devices("GPU") else "CPU:0"]


def _check_cluster(config: str) -> None:
    example = '{"cluster": {"worker": ["host0:2222", "host1:2222"]}, "task": {"type": "worker", "index": 0}}'
    try:
        given = json.loads(config)
        workers, task = given["cluster"]["worker"], given["task"]
        fine = task["type"] == "worker" and 0 <= int(task["index"]) < len(workers)
    except (ValueError, KeyError, TypeError):
        fine = False
    if not fine:
        what = f"is {config!r}" if config else "is not set"
        raise UserError(
            f"--strategy multi_worker: the environment variable TF_CONFIG {what}; expected, in each process with its "
            f"own index, something like {example}"
        )
