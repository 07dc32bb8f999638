"""Tests of whole apps, without a broker and in plain functions: :class:`TestDriver`."""

from stream_app.driver.brokers import DrivenBroker
from stream_app.driver.driver import TestDriver
from stream_app.driver.records import DeadLetter, Output
from stream_app.driver.workers import DrivenWorker

__all__ = ["DeadLetter", "DrivenBroker", "DrivenWorker", "Output", "TestDriver"]
