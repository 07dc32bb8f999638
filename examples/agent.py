import stream_app as faust

app = faust.App("stream-example")


@app.agent()
async def myagent(stream):
    """Example agent."""
    async for value in stream:
        print(f"MYAGENT RECEIVED -- {value!r}")
        yield value


if __name__ == "__main__":
    app.main()
