"""The Django app of orders."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders: models, an agent, a page and a command."""

    name = "orders"
