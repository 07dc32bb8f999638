"""Settings of Django for this project, and those of the app in it: all that changes from place to place is in the environment."""

import os
from pathlib import Path

BASE_DIR = Path(__file__).resolve().parent.parent

SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
DEBUG = os.environ.get("DEBUG", "true") == "true"
ALLOWED_HOSTS = os.environ.get("ALLOWED_HOSTS", "localhost,127.0.0.1").split(",")

INSTALLED_APPS = ["faustapp", "orders"]
ROOT_URLCONF = "proj.urls"
MIDDLEWARE = ["django.middleware.security.SecurityMiddleware", "django.middleware.common.CommonMiddleware"]
USE_TZ = True
TIME_ZONE = "UTC"  # also of the log: Django sets the time zone of the process

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": os.environ.get("DATABASE", str(BASE_DIR / "db.sqlite3")),
        "OPTIONS": {"transaction_mode": "IMMEDIATE"},  # a second writer waits for the first, instead of failing
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }
}

FAUST_BROKER_URL = os.environ.get("BROKER_URL", "kafka://localhost:9092")
FAUST_STORE_URL = os.environ.get("STORE_URL", "memory://")
