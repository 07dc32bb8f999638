"""How a broker is reached: connections, log-in, and why it failed. The only room that opens a connection."""
