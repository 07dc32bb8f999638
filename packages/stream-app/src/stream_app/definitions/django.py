"""Django projects: whether this process belongs to one, and which apps it has. Django is imported only there."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

from stream_core.errors import ConfigurationError
from stream_core.stacks import report_of

__all__ = ["IGNORE", "installed_apps", "set_up"]

IGNORE = (".migrations", ".management")
"""What Django itself imports when it needs it."""


def set_up() -> bool:
    """Set Django up where the environment variable ``DJANGO_SETTINGS_MODULE`` names a project, unless that is done, or being done.

    Returns:
        whether this is a Django project, by that variable or because the program has set Django up.

    Raises:
        ConfigurationError: Django is not installed, or its settings or apps cannot be loaded.
    """
    settings = os.environ.get("DJANGO_SETTINGS_MODULE")
    if not settings:
        return "django.apps" in sys.modules and bool(_apps().ready)
    try:
        apps = _apps()
        # settings that were read already, as by a handler of on_configured, say nothing about the apps. An app that is made final in
        # AppConfig.ready() is here while Django is setting itself up
        if not (apps.ready or apps.models_ready):
            import_module("django").setup()
    except ModuleNotFoundError as error:
        if error.name != "django":
            raise _failed(settings, error) from error
        raise ConfigurationError(
            f"DJANGO_SETTINGS_MODULE={settings} names a Django project, and Django is not installed: pip install django, "
            "or unset the variable"
        ) from error
    except Exception as error:
        raise _failed(settings, error) from error
    return True


def installed_apps() -> list[str]:
    """Return the packages of the apps in ``INSTALLED_APPS``, in their order, without those that Django brings."""
    names = [config.name for config in _apps().get_app_configs()]
    return [name for name in names if name.partition(".")[0] != "django"]


def _apps() -> Any:
    return import_module("django.apps").apps


def _failed(settings: str, error: Exception) -> ConfigurationError:
    return ConfigurationError(f"Django cannot be set up with DJANGO_SETTINGS_MODULE={settings}:\n{report_of(error)}")
