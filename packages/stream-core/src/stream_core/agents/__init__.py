"""Who works on events: agents and their actors, questions and answers, tasks and timers."""
