"""The app of this project. Each Django app of the project may define agents, tasks and tables for it.

With ``autodiscover=True`` all modules of the apps in ``INSTALLED_APPS`` are imported before the worker starts, when Django is set up.
"""

import os

from django.conf import settings

import stream_app as faust
from faustapp.database import Connections

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

app = faust.App("shop", autodiscover=True)
app.add_dependency(Connections())


@app.on_configured.connect
def configure(app, conf, **kwargs):
    """Take what Django's settings say."""
    conf.broker = settings.FAUST_BROKER_URL
    conf.store = settings.FAUST_STORE_URL


def main():
    """Run the command line of the app."""
    app.main()
