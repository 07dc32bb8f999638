"""A page of the web server: http://localhost:6066/path/to/view/?foo=1 while a worker runs."""

import stream_app as faust

app = faust.App("view-example")


@app.page("/path/to/view/")
async def myview(web, request):
    print(f"FOO PARAM: {request.query['foo']}")
    return web.json({"foo": request.query["foo"]})


if __name__ == "__main__":
    app.main()
