"""A service of mode that starts and stops with the app, and works beside it.

python examples/service.py worker -l info
"""

from mode import Service

import stream_app as faust

app = faust.App("service-example")


@app.service
class MyService(Service):
    async def on_start(self):
        print("MYSERVICE IS STARTING")

    async def on_stop(self):
        print("MYSERVICE IS STOPPING")

    @Service.task
    async def _background_task(self):
        while not self.should_stop:
            print("BACKGROUND TASK WAKE UP")
            await self.sleep(1.0)


if __name__ == "__main__":
    app.main()
