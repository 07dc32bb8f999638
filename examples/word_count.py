"""Counts words: one agent takes lines apart, another counts, each word always in the same place.

Run it, and send it more lines from another terminal:

    python examples/word_count.py worker -l info
    python examples/word_count.py send @split "to be or not to be"
"""

import stream_app as faust

POEM = ("a rose is a rose", "is a rose is a rose")

app = faust.App("word-count")
words = app.topic("word-count-words", key_type=str, value_type=str)
counts = app.Table("word_counts", default=int, key_type=str, value_type=int, help="How often each word was seen.")


@app.agent(value_type=str)
async def split(lines):
    """Take lines apart."""
    async for line in lines:
        for word in line.split():
            await words.send(key=word, value=word)


@app.agent(words)
async def count(stream):
    """Count words."""
    async for word in stream:
        counts[word] += 1
        print(f"{word}: {counts[word]}")


@app.task
async def recite():
    for line in POEM:
        await split.cast(line)


if __name__ == "__main__":
    app.main()
