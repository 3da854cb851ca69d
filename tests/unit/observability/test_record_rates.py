"""Records a second, from samples."""

from __future__ import annotations

from consumer.contract.record import TopicPartition
from consumer.observability.instance_status import SAMPLE_INTERVAL, SAMPLES, RecordRates

ONE, OTHER = TopicPartition("t", 0), TopicPartition("t", 1)


def test_a_rate_is_of_the_last_samples_and_unknown_before_there_are_two() -> None:
    settled: dict[TopicPartition, float] = {ONE: 1000.0}
    now = 0.0
    rates = RecordRates(lambda: dict(settled), lambda: now)
    assert rates.rates() is None
    rates.sample()
    assert rates.rates() is None
    now = SAMPLE_INTERVAL / 2
    rates.sample()  # too early to be one
    assert rates.rates() is None
    now, settled[ONE], settled[OTHER] = SAMPLE_INTERVAL, 1100.0, 10.0
    rates.sample()
    assert rates.rates() == {ONE: 100 / SAMPLE_INTERVAL, OTHER: 10 / SAMPLE_INTERVAL}
    for _ in range(SAMPLES):
        now += SAMPLE_INTERVAL
        rates.sample()
    assert rates.rates() == {ONE: 0.0, OTHER: 0.0}
