"""Traps of aiokafka 0.14 about being a member of a group, and leaving it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.range import RangePartitionAssignor

from consumer.contract.record import Record, TopicPartition
from consumer.engine import pipeline
from consumer.engine.assignment import Assignment
from consumer.engine.runner import RunEnd
from consumer.settings import EMBEDDED_PROFILE, SettingsError
from tests.faults.kafka.clusters import mocked
from tests.faults.kafka.engine import event_keys, publish_events, running
from tests.faults.kafka.frames import Api
from tests.faults.kafka.reading import GROUP, ONE, TWO, Reader, quick, reading
