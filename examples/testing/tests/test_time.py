"""Timers and lists: the clock stands still until a test moves it."""

from __future__ import annotations

import stream_app as faust
from shop.app import Order, Report, orders, reports, shipments


def test_there_is_a_report_each_minute(stream_driver: faust.TestDriver) -> None:
    """A report has the orders since the one before."""
    stream_driver.advance(60)
    stream_driver.produce(orders, Order("joe", "chair", 40), key="o1")
    stream_driver.advance(60)
    assert [sent.value for sent in stream_driver.outputs(reports)][1:] == [Report(orders=1)]


def test_products_are_shipped_together(stream_driver: faust.TestDriver) -> None:
    """They wait for others half a minute; ten of them do not wait."""
    for product in ("chair", "lamp"):
        stream_driver.produce(orders, Order("joe", product, 40), partition=0)
    stream_driver.advance(29)
    assert stream_driver.outputs(shipments) == []
    stream_driver.advance(1)
    assert [sent.value for sent in stream_driver.outputs(shipments)] == [["chair", "lamp"]]
    for _ in range(10):
        stream_driver.produce(orders, Order("joe", "desk", 40), partition=0)
    assert stream_driver.outputs(shipments)[-1].value == ["desk"] * 10
