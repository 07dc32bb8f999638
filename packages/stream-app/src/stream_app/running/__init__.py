"""What an app is when it runs: the engine with its drivers, services, web server, and the process around it."""
