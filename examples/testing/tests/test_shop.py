"""What the shop does with orders."""

from __future__ import annotations

import stream_app as faust
from shop.app import Order, count, large, orders, spent


def test_orders_are_counted_by_customer(stream_driver: faust.TestDriver) -> None:
    """Orders have numbers as keys, and are counted by customer."""
    stream_driver.produce(orders, Order("joe", "chair", 40), key="o1")
    stream_driver.produce(orders, Order("joe", "lamp", 20), key="o2")
    stream_driver.produce(orders, Order("ann", "desk", 300), key="o3")
    assert stream_driver.table(spent) == {"joe": 60, "ann": 300}


def test_large_orders_are_sent_on(stream_driver: faust.TestDriver) -> None:
    """Only those from 1000 on are, by customer."""
    stream_driver.produce(orders, Order("joe", "lamp", 999), key="o1")
    stream_driver.produce(orders, Order("joe", "sofa", 1000), key="o2")
    assert [(sent.key, sent.value.product) for sent in stream_driver.outputs(large)] == [("joe", "sofa")]


def test_bad_orders_are_kept(stream_driver: faust.TestDriver) -> None:
    """An order without an amount goes to the dead letters, and the next one is counted."""
    stream_driver.produce(orders, Order("joe", "chair", 0), key="o1")
    stream_driver.produce(orders, Order("joe", "chair", 40), key="o2")
    (letter,) = stream_driver.dead_letters
    assert (letter.value.product, letter.error_message) == ("chair", "0 is no amount")
    assert stream_driver.table(spent) == {"joe": 40}


def test_who_has_spent_before(stream_driver: faust.TestDriver) -> None:
    """Tables can be given contents; agents can be asked."""
    stream_driver.fill(spent, {"joe": 500}, like=orders)
    assert stream_driver.ask(count, Order("joe", "chair", 40), key="o1") == 540
