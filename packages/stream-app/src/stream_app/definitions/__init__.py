"""What a program says of its app: agents, tables, topics, tasks, signals. It is remembered, and nothing runs yet."""
