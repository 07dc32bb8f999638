"""Crashes, a second worker, a broker that fails."""

from __future__ import annotations

import pytest

import stream_app as faust
from shop.app import Order, large, orders, spent


@pytest.mark.stream_app("shop.app:app", processing_guarantee="exactly_once", commit=False)
def test_nothing_is_counted_twice(stream_driver: faust.TestDriver) -> None:
    """A worker that crashes before its commit leaves nothing behind: the next one begins anew."""
    stream_driver.produce(orders, Order("joe", "sofa", 1000), key="o1")
    stream_driver.crash()
    assert stream_driver.outputs(large) == []
    stream_driver.restart()
    stream_driver.commit()
    assert stream_driver.table(spent) == {"joe": 1000}
    assert len(stream_driver.outputs(large)) == 1


def test_workers_take_over(stream_driver: faust.TestDriver) -> None:
    """Two workers share the partitions; when one crashes, the other has the tables of both."""
    customers = ["ann", "bob", "joe", "sue"]
    second = stream_driver.add_worker()
    for number, customer in enumerate(customers):
        stream_driver.produce(orders, Order(customer, "chair", 40), key=f"o{number}")
    second.crash()
    for number, customer in enumerate(customers):
        stream_driver.produce(orders, Order(customer, "lamp", 20), key=f"p{number}")
    assert stream_driver.table(spent) == dict.fromkeys(customers, 60)


def test_a_broker_that_fails(stream_driver: faust.TestDriver) -> None:
    """A commit whose answer is lost is made again."""
    stream_driver.broker.fail("offset_commit", applied=True)
    stream_driver.produce(orders, Order("joe", "chair", 40), key="o1")
    assert stream_driver.table(spent)["joe"] >= 40
