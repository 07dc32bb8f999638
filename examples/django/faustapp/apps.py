"""The Django app that holds the Faust app."""

from django.apps import AppConfig


class FaustAppConfig(AppConfig):
    """It has no models: ``faustapp.app`` is what other apps import."""

    name = "faustapp"
